#include "launch/supervise/server_status.h"

#include <grpcpp/grpcpp.h>

#include <optional>
#include <thread>
#include <utility>

#include "launch/coordinator/server_report.h"
#include "launch/supervise/process.h"
#include "launch/text/human.h"
#include "launch/text/json.h"
#include "launch/text/table.h"
#include "proto/control.pb.h"
#include "proto/ps_service.grpc.pb.h"

namespace cairn::launch {
namespace {

// Fills `server` within the limit.
void AskServer(const std::string& address, std::chrono::milliseconds limit, ServerStatus* server) {
  const auto stub =
      proto::PsControl::NewStub(grpc::CreateChannel(address, grpc::InsecureChannelCredentials()));
  grpc::ClientContext context;
  context.set_deadline(std::chrono::system_clock::now() + limit);
  auto stats = std::make_unique<proto::PsStatsReply>();
  const grpc::Status answer = stub->Stats(&context, proto::PsStatsRequest(), stats.get());
  if (answer.ok()) {
    server->stats = std::move(stats);
  } else {
    server->no_answer = StrCat("ps ", server->ps, " at ", address,
                               " does not tell of itself: ", answer.error_message());
  }
}

std::optional<ServerReport> ReportOf(const std::vector<ServerStatus>& servers) {
  std::vector<proto::PsStatsReply> told;
  for (const ServerStatus& server : servers) {
    if (server.stats != nullptr) told.push_back(*server.stats);
  }
  if (told.empty()) return std::nullopt;
  Result<ServerReport> report = AddUp(told);
  if (!report.ok()) return std::nullopt;
  return *std::move(report);
}

void WriteTimes(const Distribution& times, JsonWriter& json) {
  json.BeginObject();
  json.Key("count").Uint(times.count());
  for (const auto& [name, share] : {std::pair("p50", 0.5), {"p90", 0.9}, {"p99", 0.99}}) {
    json.Key(name).Double(times.Percentile(share));
  }
  json.Key("max").Double(times.largest);
  json.EndObject();
}

void WriteReport(const ServerReport& report, JsonWriter& json) {
  json.Key("rows").Uint(report.rows);
  json.Key("rows_in_memory").Uint(report.resident_rows);
  json.Key("bytes").Uint(report.bytes);
  if (const auto hits = report.MemoryHits(); hits.has_value())
    json.Key("memory_hits").Double(*hits);
  json.Key("pulled_rows").Uint(report.pulled_rows);
  json.Key("pulled_absent").Uint(report.pulled_absent);
  json.Key("pushed_rows").Uint(report.pushed_rows);
  json.Key("fetched_rows").Uint(report.fetched_rows);
  json.Key("spilled_rows").Uint(report.spilled_rows);
  json.Key("admitted").Uint(report.admitted);
  json.Key("not_admitted").Uint(report.not_admitted);
  json.Key("evicted_age").Uint(report.evicted_age);
  json.Key("evicted_count").Uint(report.evicted_count);
  json.Key("evicted_norm").Uint(report.evicted_norm);
  json.Key("refused").Uint(report.refused);
  json.Key("duplicates").Uint(report.duplicates);
  json.Key("waits_for_room").Uint(report.waits_for_room);
  json.Key("log_bytes").Uint(report.log_bytes);
  json.Key("log_cuts").Uint(report.log_cuts);
  json.Key("store_bytes").Uint(report.store_bytes);
  json.Key("rss_bytes").Uint(report.rss_bytes);
  json.Key("pull_s");
  WriteTimes(report.pull_s, json);
  json.Key("push_s");
  WriteTimes(report.push_s, json);
}

void WriteSlots(const proto::SlotLoadStats& slots, JsonWriter& json) {
  json.BeginObject();
  json.Key("groups").Uint(slots.groups());
  json.Key("sampled_one_in").Uint(slots.sampled_one_in());
  json.Key("pulled_rows").Uint(slots.pulled_rows());
  json.Key("pushed_rows").Uint(slots.pushed_rows());
  json.Key("most_loaded").BeginArray();
  for (const proto::SlotGroupLoad& group : slots.most_loaded()) {
    json.BeginObject().Inline();
    json.Key("first_slot").Uint(group.first_slot());
    json.Key("last_slot").Uint(group.last_slot());
    json.Key("pulled_rows").Uint(group.pulled_rows());
    json.Key("pushed_rows").Uint(group.pushed_rows());
    json.EndObject();
  }
  json.EndArray();
  json.EndObject();
}

}  // namespace

ServerStatus::ServerStatus() = default;
ServerStatus::~ServerStatus() = default;
ServerStatus::ServerStatus(ServerStatus&&) noexcept = default;
ServerStatus& ServerStatus::operator=(ServerStatus&&) noexcept = default;

std::vector<ServerStatus> AskServers(const proto::JobStatusReply& live,
                                     std::chrono::milliseconds limit) {
  std::vector<ServerStatus> servers;
  std::vector<std::string> addresses;
  for (const proto::ProcessStatus& process : live.process()) {
    if (process.role() != "ps" || process.address().empty()) continue;
    servers.emplace_back().ps = process.index();
    addresses.push_back(process.address());
  }
  std::vector<std::thread> threads;
  for (std::size_t i = 0; i < servers.size(); ++i) {
    threads.emplace_back(AskServer, addresses[i], limit, &servers[i]);
  }
  for (std::thread& thread : threads) thread.join();
  return servers;
}

std::string ServerLines(const std::vector<ServerStatus>& servers) {
  std::string text;
  for (const ServerStatus& server : servers) {
    if (server.stats == nullptr) StrAppend(text, "warning     ", server.no_answer, "\n");
  }
  const auto report = ReportOf(servers);
  if (!report.has_value()) return text;
  StrAppend(text, "rows        ", RowsText(*report), "\n");
  const std::string requests = RequestsText(*report);
  if (!requests.empty()) StrAppend(text, "requests    ", requests, "\n");
  const std::string staleness = StalenessText(*report);
  if (!staleness.empty()) StrAppend(text, "staleness   ", staleness, "\n");
  return text;
}

std::string ServerTable(const std::vector<ServerStatus>& servers) {
  Table table({{"server"},
               {"rows", true},
               {"in memory", true},
               {"hits", true},
               {"pulled", true},
               {"pushed", true},
               {"pull p99", true},
               {"push p99", true},
               {"waits", true},
               {"log", true},
               {"database", true},
               {"process", true}});
  for (const ServerStatus& server : servers) {
    if (server.stats == nullptr) continue;
    const Result<ServerReport> report = AddUp({*server.stats});
    if (!report.ok()) continue;
    const auto hits = report->MemoryHits();
    table.AddRow({ProcessName("ps", static_cast<int>(server.ps)), HumanCount(report->rows),
                  HumanCount(report->resident_rows),
                  hits.has_value() ? StrCat(Fixed(100 * *hits, 1), " %") : "-",
                  HumanCount(report->pulled_rows), HumanCount(report->pushed_rows),
                  HumanLatency(report->pull_s.Percentile(0.99)),
                  HumanLatency(report->push_s.Percentile(0.99)), HumanCount(report->waits_for_room),
                  HumanBytes(report->log_bytes), HumanBytes(report->store_bytes),
                  HumanBytes(report->rss_bytes)});
  }
  return table.empty() ? "" : StrCat("\n", table.Aligned("  "));
}

void WriteServers(const std::vector<ServerStatus>& servers, JsonWriter& json) {
  if (const auto report = ReportOf(servers); report.has_value()) {
    json.Key("servers").BeginObject();
    json.Key("count").Uint(report->servers);
    WriteReport(*report, json);
    json.Key("busiest_ps").Uint(report->busiest_ps);
    json.Key("server_skew").Double(report->server_skew);
    json.Key("slot_skew").Double(report->slot_skew);
    json.Key("slot_skew_by_chance").Double(report->slot_skew_by_chance);
    json.EndObject();
  }
  json.Key("server").BeginArray();
  for (const ServerStatus& server : servers) {
    json.BeginObject();
    json.Key("ps").Uint(server.ps);
    if (!server.no_answer.empty()) json.Key("warning").String(server.no_answer);
    if (server.stats != nullptr) {
      const Result<ServerReport> report = AddUp({*server.stats});
      if (report.ok()) WriteReport(*report, json);
      json.Key("slots");
      WriteSlots(server.stats->slots(), json);
    }
    json.EndObject();
  }
  json.EndArray();
}

}  // namespace cairn::launch
