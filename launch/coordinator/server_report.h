// What the parameter servers of a job tell about themselves (proto/ps_service.proto), added up, and
// as words: for the end of a run, metrics.jsonl and `launch/cluster status`. docs/cluster.md
// explains each number.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "common/base/status.h"
#include "common/metrics/metrics.h"

namespace cairn::proto {
class PsStatsReply;
class ServerRecord;
}  // namespace cairn::proto

namespace cairn::launch {

struct ServerReport {
  std::uint32_t servers = 0;
  // Over all tables.
  std::uint64_t rows = 0;
  std::uint64_t resident_rows = 0;
  std::uint64_t bytes = 0;  // of resident rows and their index
  std::uint64_t pulled_rows = 0;
  std::uint64_t pulled_absent = 0;
  std::uint64_t pushed_rows = 0;
  std::uint64_t fetched_rows = 0;
  std::uint64_t spilled_rows = 0;
  std::uint64_t admitted = 0;
  std::uint64_t not_admitted = 0;
  std::uint64_t evicted_age = 0;
  std::uint64_t evicted_count = 0;
  std::uint64_t evicted_norm = 0;
  std::uint64_t evicted() const { return evicted_age + evicted_count + evicted_norm; }
  // Share of the pulled rows that exist which memory had, 0 to 1; empty when none was pulled.
  std::optional<double> MemoryHits() const;

  std::uint64_t refused = 0;
  std::uint64_t duplicates = 0;
  std::uint64_t store_bytes = 0;
  std::uint64_t rss_bytes = 0;
  std::uint64_t log_bytes = 0;
  std::uint64_t log_cuts = 0;
  std::uint64_t waits_for_room = 0;

  // Seconds, as served; in the core where there is no transport.
  Distribution pull_s;
  Distribution push_s;

  // Pushes of others between a step's pull and its push, plus one; empty where there is no
  // transport.
  Distribution row_staleness;
  Distribution dense_staleness;

  // Pulled and pushed rows of the busiest server, over their mean. Tables whose restore lies
  // further back on one server count there for longer.
  std::uint32_t busiest_ps = 0;
  double server_skew = 1;

  // The same of groups of slots, all servers' together, by samples.
  std::uint32_t busiest_first_slot = 0;
  std::uint32_t busiest_last_slot = 0;
  double slot_skew = 1;
  // What the largest of as many groups with the same load is likely to be for so few samples. A
  // skew that is not clearly above says nothing.
  double slot_skew_by_chance = 1;
  bool has_busy_slots() const { return slot_skew > 1.25 * slot_skew_by_chance; }
};

// InvalidArgument for times that are none or are told by servers of another kind.
Result<ServerReport> AddUp(const std::vector<proto::PsStatsReply>& stats);

// "10 000 000 on 2 servers, 1 523 111 in memory (152.0 MiB), memory hits 64.0 %, evicted 12 310 by
// age"; what did not happen is left out.
std::string RowsText(const ServerReport& report);
// "pull p50 1.21 ms, p99 3.40 ms; push p50 2.10 ms, p99 9.90 ms; 3 waited for memory; ps 1 has 1.30
// times the mean load"; empty when there was no request.
std::string RequestsText(const ServerReport& report);
// "rows p50 1, p99 3, at most 4 pushes behind; dense ..."; empty when nothing was pushed.
std::string StalenessText(const ServerReport& report);

void ToProto(const ServerReport& report, proto::ServerRecord* record);

}  // namespace cairn::launch
