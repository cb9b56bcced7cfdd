#include "launch/coordinator/server_report.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "common/math/hash.h"
#include "common/metrics/distribution_proto.h"
#include "google/protobuf/text_format.h"
#include "proto/checkpoint.pb.h"
#include "proto/ps_service.pb.h"
#include "ps/server/request_stats.h"

namespace cairn::launch {
namespace {

using ::testing::HasSubstr;

proto::PsStatsReply Parse(const std::string& text) {
  proto::PsStatsReply stats;
  EXPECT_TRUE(google::protobuf::TextFormat::ParseFromString(text, &stats)) << text;
  return stats;
}

proto::Distribution Times(const std::vector<double>& seconds) {
  Histogram histogram(1e-6, 1e3);
  for (const double s : seconds) histogram.Record(s);
  proto::Distribution message;
  ToProto(histogram.Read(), &message);
  return message;
}

ServerReport ReportOf(const std::vector<proto::PsStatsReply>& stats) {
  Result<ServerReport> report = AddUp(stats);
  EXPECT_TRUE(report.ok()) << report.status();
  return report.ok() ? *std::move(report) : ServerReport();
}

TEST(ServerReport, TablesAndServersAreAddedUp) {
  const ServerReport report = ReportOf({Parse(R"(
      ps: 0 refused: 2 log_bytes: 10 log_cuts: 1 waits_for_room: 4 store_bytes: 7 rss_bytes: 100
      table { rows: 10 resident_rows: 5 bytes: 100 pulled_rows: 50 pulled_absent: 10 pushed_rows: 7
              fetched_rows: 4 spilled_rows: 9 admitted: 3 not_admitted: 8
              evicted_age: 1 evicted_count: 2 evicted_norm: 3 }
      table { rows: 1 resident_rows: 1 evicted_norm: 4 })"),
                                        Parse("ps: 1 table { rows: 100 fetched_rows: 6 }")});
  EXPECT_EQ(report.servers, 2u);
  EXPECT_EQ(report.rows, 111u);
  EXPECT_EQ(report.resident_rows, 6u);
  EXPECT_EQ(report.evicted(), 10u);
  EXPECT_EQ(report.evicted_norm, 7u);
  EXPECT_EQ(report.spilled_rows, 9u);
  EXPECT_EQ(report.not_admitted, 8u);
  EXPECT_EQ(report.waits_for_room, 4u);
  EXPECT_EQ(report.log_cuts, 1u);
  EXPECT_EQ(report.MemoryHits(), 0.75);  // 40 rows that exist were pulled, 10 fetched
  EXPECT_EQ(report.busiest_ps, 0u);
  EXPECT_EQ(report.server_skew, 2);
}

TEST(ServerReport, HitsOfNothingAreNotDefined) {
  EXPECT_FALSE(ReportOf({}).MemoryHits().has_value());
  EXPECT_FALSE(ReportOf({Parse("table { pulled_rows: 5 pulled_absent: 5 }")}).MemoryHits());
  // Pushes may fetch more than pulls saw.
  EXPECT_EQ(ReportOf({Parse("table { pulled_rows: 5 fetched_rows: 9 }")}).MemoryHits(), 0);
}

TEST(ServerReport, TimesAreThoseOfAllServers) {
  proto::PsStatsReply a, b;
  *a.mutable_pull_times()->mutable_served() = Times(std::vector<double>(98, 0.002));
  *a.mutable_pull_times()->mutable_in_core() = Times({500});  // not looked at: served is there
  *b.mutable_pull_times()->mutable_in_core() = Times({0.004, 0.5});
  const ServerReport report = ReportOf({a, b});
  EXPECT_EQ(report.pull_s.count(), 100u);
  EXPECT_NEAR(report.pull_s.Percentile(0.5), 0.002, 0.0002);
  EXPECT_EQ(report.pull_s.largest, 0.5);
  EXPECT_EQ(report.push_s.count(), 0u);
}

TEST(ServerReport, NonsenseNamesTheServer) {
  const Status status =
      AddUp({Parse("ps: 4 pull_times { in_core { lowest: 1 highest: 8 buckets: 2 } }")}).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(status.message()), HasSubstr("ps 4"));
}

TEST(ServerReport, TextLeavesOutWhatDidNotHappen) {
  proto::PsStatsReply stats =
      Parse("table { rows: 1000 resident_rows: 1000 bytes: 2048 pulled_rows: 10 }");
  EXPECT_EQ(RowsText(ReportOf({stats})), "1 000 on 1 server, all in memory (2.0 KiB)");
  EXPECT_EQ(RequestsText(ReportOf({stats})), "");
  *stats.mutable_pull_times()->mutable_in_core() = Times({0.001});
  *stats.mutable_push_times()->mutable_in_core() = Times({0.0025, 0.0025});
  EXPECT_EQ(RequestsText(ReportOf({stats})),
            "pull p50 1.00 ms, p99 1.00 ms; push p50 2.50 ms, p99 2.50 ms");
  stats.mutable_table(0)->set_evicted_age(12000);
  stats.mutable_table(0)->set_evicted_norm(3);
  stats.set_refused(1);
  EXPECT_THAT(RowsText(ReportOf({stats})),
              HasSubstr("(2.0 KiB), evicted 12 000 by age, 3 by norm"));
  EXPECT_THAT(RequestsText(ReportOf({stats})), HasSubstr("; 1 refused"));
}

// Slots with the same load do not look busy, however few samples there are; a slot with five times
// the load does once there are enough.
TEST(ServerReport, BusySlotsAreToldFromChance) {
  const ps::SlotRange slots{10, 0, 1024};
  for (const int requests : {1, 10, 100, 1000}) {
    ps::SlotLoad even(slots), uneven(slots);
    std::uint64_t next = 1;
    for (int r = 0; r < requests; ++r) {
      std::vector<std::uint64_t> keys(10'000);
      for (std::uint64_t& key : keys) key = Mix64(next++);
      even.Count(ps::RequestKind::kPull, keys);
      for (std::size_t i = 0; i < 40; ++i) {
        while (SlotOf(keys[i], 10) != 700) keys[i] = Mix64(next++);
      }
      uneven.Count(ps::RequestKind::kPush, keys);
    }
    proto::PsStatsReply stats;
    even.Tell(stats.mutable_slots());
    const ServerReport fair = ReportOf({stats});
    EXPECT_FALSE(fair.has_busy_slots())
        << requests << ": " << fair.slot_skew << " " << fair.slot_skew_by_chance;
    uneven.Tell(stats.mutable_slots());
    const ServerReport unfair = ReportOf({stats});
    if (requests < 100) continue;
    EXPECT_TRUE(unfair.has_busy_slots()) << requests;
    EXPECT_EQ(unfair.busiest_first_slot, 700u);
    EXPECT_NEAR(unfair.slot_skew, 5, 0.7 * 40 / std::sqrt(requests));
  }
}

TEST(ServerReport, RecordHasWhatIsKnown) {
  proto::ServerRecord record;
  ToProto(ReportOf({Parse("table { rows: 10 resident_rows: 4 evicted_count: 3 }")}), &record);
  EXPECT_EQ(record.rows(), 10u);
  EXPECT_EQ(record.resident_rows(), 4u);
  EXPECT_EQ(record.evicted_count(), 3u);
  EXPECT_FALSE(record.has_memory_hits());
  EXPECT_FALSE(record.has_pull_p99_s());
}

}  // namespace
}  // namespace cairn::launch
