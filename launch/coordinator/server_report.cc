#include "launch/coordinator/server_report.h"

#include <algorithm>
#include <cmath>

#include "common/base/str_cat.h"
#include "common/metrics/distribution_proto.h"
#include "launch/text/human.h"
#include "proto/checkpoint.pb.h"
#include "proto/ps_service.pb.h"

namespace cairn::launch {
namespace {

// Less is nothing to tell a person of: a slot is one of a thousand.
constexpr double kToldServerSkew = 1.1;
constexpr double kToldSlotSkew = 3;

void AddTable(const proto::TableStats& table, ServerReport* report) {
  report->rows += table.rows();
  report->resident_rows += table.resident_rows();
  report->bytes += table.bytes();
  report->pulled_rows += table.pulled_rows();
  report->pulled_absent += table.pulled_absent();
  report->pushed_rows += table.pushed_rows();
  report->fetched_rows += table.fetched_rows();
  report->spilled_rows += table.spilled_rows();
  report->admitted += table.admitted();
  report->not_admitted += table.not_admitted();
  report->evicted_age += table.evicted_age();
  report->evicted_count += table.evicted_count();
  report->evicted_norm += table.evicted_norm();
}

Status AddTimes(const proto::RequestTimesStats& times, Distribution* sum) {
  ASSIGN_OR_RETURN(const Distribution told,
                   FromProto(times.has_served() ? times.served() : times.in_core()));
  return sum->Merge(told);
}

void FindBusiestServer(const std::vector<proto::PsStatsReply>& stats, ServerReport* report) {
  double most = 0;
  for (const proto::PsStatsReply& server : stats) {
    double load = 0;
    for (const proto::TableStats& table : server.table()) {
      load += static_cast<double>(table.pulled_rows()) + static_cast<double>(table.pushed_rows());
    }
    if (load <= most) continue;
    most = load;
    report->busiest_ps = server.ps();
  }
  const double sum = static_cast<double>(report->pulled_rows + report->pushed_rows);
  if (sum > 0) report->server_skew = most * static_cast<double>(stats.size()) / sum;
}

void FindBusiestSlots(const std::vector<proto::PsStatsReply>& stats, ServerReport* report) {
  double samples = 0;
  double groups = 0;
  double most = 0;
  for (const proto::PsStatsReply& server : stats) {
    const proto::SlotLoadStats& slots = server.slots();
    if (slots.sampled_one_in() == 0) continue;
    const double per_row = 1 / static_cast<double>(slots.sampled_one_in());
    groups += slots.groups();
    samples += per_row * (static_cast<double>(slots.pulled_rows()) +
                          static_cast<double>(slots.pushed_rows()));
    for (const proto::SlotGroupLoad& group : slots.most_loaded()) {
      const double load = per_row * (static_cast<double>(group.pulled_rows()) +
                                     static_cast<double>(group.pushed_rows()));
      if (load <= most) continue;
      most = load;
      report->busiest_first_slot = group.first_slot();
      report->busiest_last_slot = group.last_slot();
    }
  }
  if (samples == 0 || groups == 0) return;
  const double mean = samples / groups;
  report->slot_skew = most / mean;
  // The largest of n Poisson numbers of mean m: m + d sqrt(m) + d^2 / 6 with d = sqrt(2 ln n), good
  // enough also for a small m.
  const double d2 = 2 * std::log(groups);
  report->slot_skew_by_chance = 1 + std::sqrt(d2 / mean) + d2 / (6 * mean);
}

std::string Percent(double share) { return StrCat(Fixed(100 * share, 1), " %"); }

Status AddTo(const proto::Distribution& told, Distribution* sum) {
  ASSIGN_OR_RETURN(const Distribution distribution, FromProto(told));
  return sum->Merge(distribution);
}

// Pushes: the histogram holds one more.
std::uint64_t Pushes(double held) {
  return static_cast<std::uint64_t>(std::max(0.0, std::round(held) - 1));
}

std::string PushesText(const char* what, const Distribution& staleness) {
  return StrCat(what, " p50 ", Pushes(staleness.Percentile(0.5)), ", p99 ",
                Pushes(staleness.Percentile(0.99)), ", at most ", Pushes(staleness.largest),
                " pushes behind");
}

std::string TimesText(const char* kind, const Distribution& times) {
  return StrCat(kind, " p50 ", HumanLatency(times.Percentile(0.5)), ", p99 ",
                HumanLatency(times.Percentile(0.99)));
}

}  // namespace

std::optional<double> ServerReport::MemoryHits() const {
  if (pulled_rows <= pulled_absent) return std::nullopt;
  // Pushes fetch as well, those few rows that left memory since they were pulled.
  return std::max(0.0, 1 - static_cast<double>(fetched_rows) /
                               static_cast<double>(pulled_rows - pulled_absent));
}

Result<ServerReport> AddUp(const std::vector<proto::PsStatsReply>& stats) {
  ServerReport report;
  report.servers = static_cast<std::uint32_t>(stats.size());
  for (const proto::PsStatsReply& server : stats) {
    for (const proto::TableStats& table : server.table()) AddTable(table, &report);
    report.refused += server.refused();
    report.duplicates += server.duplicates();
    report.store_bytes += server.store_bytes();
    report.rss_bytes += server.rss_bytes();
    report.log_bytes += server.log_bytes();
    report.log_cuts += server.log_cuts();
    report.waits_for_room += server.waits_for_room();
    RETURN_IF_ERROR(AddTimes(server.pull_times(), &report.pull_s), "ps ", server.ps());
    RETURN_IF_ERROR(AddTimes(server.push_times(), &report.push_s), "ps ", server.ps());
    RETURN_IF_ERROR(AddTo(server.row_staleness(), &report.row_staleness), "ps ", server.ps());
    RETURN_IF_ERROR(AddTo(server.dense_staleness(), &report.dense_staleness), "ps ", server.ps());
  }
  FindBusiestServer(stats, &report);
  FindBusiestSlots(stats, &report);
  return report;
}

std::string RowsText(const ServerReport& report) {
  std::string text = StrCat(HumanCount(report.rows), " on ", CountOf(report.servers, "server"));
  StrAppend(text, ", ",
            report.resident_rows == report.rows ? "all" : HumanCount(report.resident_rows),
            " in memory (", HumanBytes(report.bytes), ")");
  const auto hits = report.MemoryHits();
  if (hits.has_value() && (report.fetched_rows > 0 || report.resident_rows < report.rows)) {
    StrAppend(text, ", memory hits ", Percent(*hits));
  }
  const std::pair<std::uint64_t, const char*> evicted[] = {
      {report.evicted_age, "age"}, {report.evicted_count, "count"}, {report.evicted_norm, "norm"}};
  const char* before = ", evicted ";
  for (const auto& [rows, reason] : evicted) {
    if (rows == 0) continue;
    StrAppend(text, before, HumanCount(rows), " by ", reason);
    before = ", ";
  }
  return text;
}

std::string RequestsText(const ServerReport& report) {
  std::vector<std::string> parts;
  if (report.pull_s.count() > 0) parts.push_back(TimesText("pull", report.pull_s));
  if (report.push_s.count() > 0) parts.push_back(TimesText("push", report.push_s));
  if (parts.empty()) return "";
  if (report.waits_for_room > 0) {
    parts.push_back(StrCat(HumanCount(report.waits_for_room), " waited for memory"));
  }
  if (report.refused > 0) parts.push_back(StrCat(HumanCount(report.refused), " refused"));
  if (report.server_skew > kToldServerSkew) {
    parts.push_back(StrCat("ps ", report.busiest_ps, " has ", Fixed(report.server_skew, 2),
                           " times the mean load"));
  }
  if (report.slot_skew > kToldSlotSkew && report.has_busy_slots()) {
    parts.push_back(StrCat("slot ", report.busiest_first_slot, " has ", Fixed(report.slot_skew, 2),
                           " times the mean load"));
  }
  std::string text;
  for (const std::string& part : parts) StrAppend(text, text.empty() ? "" : "; ", part);
  return text;
}

std::string StalenessText(const ServerReport& report) {
  std::string text;
  if (report.row_staleness.count() > 0) text = PushesText("rows", report.row_staleness);
  if (report.dense_staleness.count() > 0) {
    StrAppend(text, text.empty() ? "" : "; ", PushesText("dense", report.dense_staleness));
  }
  return text;
}

void ToProto(const ServerReport& report, proto::ServerRecord* record) {
  record->Clear();
  record->set_rows(report.rows);
  record->set_resident_rows(report.resident_rows);
  if (const auto hits = report.MemoryHits(); hits.has_value()) record->set_memory_hits(*hits);
  record->set_evicted_age(report.evicted_age);
  record->set_evicted_count(report.evicted_count);
  record->set_evicted_norm(report.evicted_norm);
  if (report.pull_s.count() > 0) record->set_pull_p99_s(report.pull_s.Percentile(0.99));
  if (report.push_s.count() > 0) record->set_push_p99_s(report.push_s.Percentile(0.99));
  if (report.row_staleness.count() > 0) {
    record->set_row_staleness_p99(Pushes(report.row_staleness.Percentile(0.99)));
    record->set_row_staleness_most(Pushes(report.row_staleness.largest));
  }
  if (report.dense_staleness.count() > 0) {
    record->set_dense_staleness_p99(Pushes(report.dense_staleness.Percentile(0.99)));
    record->set_dense_staleness_most(Pushes(report.dense_staleness.largest));
  }
}

}  // namespace cairn::launch
