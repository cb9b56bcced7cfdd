#include "launch/commands/console.h"

#include <gtest/gtest.h>

#include <string>

#include "launch/coordinator/server_report.h"

namespace cairn::launch {
namespace {

// What a run prints about its servers at its end.
std::string Printed(const ServerReport& report) {
  ::testing::internal::CaptureStderr();
  MakeConsole()->OnServers(report);
  return ::testing::internal::GetCapturedStderr();
}

ServerReport SmallReport() {
  Histogram pulls(1e-6, 1e3);
  pulls.Record(0.002);
  ServerReport report;
  report.servers = 2;
  report.rows = 12'345;
  report.resident_rows = 1'000;
  report.bytes = 3 << 20;
  report.pulled_rows = 500;
  report.pulled_absent = 100;
  report.fetched_rows = 100;
  report.evicted_age = 7;
  report.waits_for_room = 3;
  report.pull_s = pulls.Read();
  return report;
}

TEST(Console, TellsOfTheServersInTwoLines) {
  EXPECT_EQ(Printed(SmallReport()),
            "rows      12 345 on 2 servers, 1 000 in memory (3.0 MiB), memory hits 75.0 %, "
            "evicted 7 by age\n"
            "requests  pull p50 2.00 ms, p99 2.00 ms; 3 waited for memory\n");
}

TEST(Console, TellsNothingOfServersWithoutRequests) {
  ServerReport report = SmallReport();
  report.pull_s = {};
  EXPECT_EQ(Printed(report), "");
}

}  // namespace
}  // namespace cairn::launch
