// What the parameter servers of a running job tell about themselves, for `launch/cluster status`.
#pragma once

#include <chrono>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

namespace cairn::proto {
class JobStatusReply;
class PsStatsReply;
}  // namespace cairn::proto

namespace cairn::launch {

class JsonWriter;

struct ServerStatus {
  std::uint32_t ps = 0;
  std::unique_ptr<proto::PsStatsReply> stats;  // null: it did not answer
  std::string no_answer;                       // and why

  ServerStatus();
  ~ServerStatus();
  ServerStatus(ServerStatus&&) noexcept;
  ServerStatus& operator=(ServerStatus&&) noexcept;
};

// Asks the servers that have joined, all at once, and waits at most `limit`.
std::vector<ServerStatus> AskServers(const proto::JobStatusReply& live,
                                     std::chrono::milliseconds limit);

// All servers that answered together, in lines led by "rows" and "requests", behind a warning for
// each of the others.
std::string ServerLines(const std::vector<ServerStatus>& servers);
// One row for each server that answered, behind an empty line; empty where none did.
std::string ServerTable(const std::vector<ServerStatus>& servers);
// All servers together under "servers", and each with its slots under "server".
void WriteServers(const std::vector<ServerStatus>& servers, JsonWriter& json);

}  // namespace cairn::launch
