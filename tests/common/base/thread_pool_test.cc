#include "common/base/thread_pool.h"

#include <numeric>
#include <set>
#include <vector>

#include <gtest/gtest.h>

namespace cairn {
namespace {

class ThreadPoolTest : public testing::TestWithParam<int> {};

TEST_P(ThreadPoolTest, EveryThreadRunsOnceInEveryRound) {
  ThreadPool pool(GetParam());
  ASSERT_EQ(pool.threads(), GetParam());
  std::vector<int> calls(GetParam(), 0);
  for (int round = 0; round < 2000; ++round) {
    pool.Run([&](int thread) { ++calls[thread]; });
    for (int count : calls) ASSERT_EQ(count, round + 1);
  }
}

TEST_P(ThreadPoolTest, ThreadZeroIsTheCallerAndTheOthersDiffer) {
  ThreadPool pool(GetParam());
  std::vector<std::thread::id> ids(GetParam());
  pool.Run([&](int thread) { ids[thread] = std::this_thread::get_id(); });
  EXPECT_EQ(ids[0], std::this_thread::get_id());
  EXPECT_EQ(std::set<std::thread::id>(ids.begin(), ids.end()).size(), ids.size());
}

INSTANTIATE_TEST_SUITE_P(Threads, ThreadPoolTest, testing::Values(1, 2, 3, 7));

TEST(ThreadPoolDeathTest, RunInsideARunIsRefused) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  EXPECT_DEATH(
      {
        ThreadPool pool(1);
        pool.Run([&](int) { pool.Run([](int) {}); });
      },
      "inside a run");
}

TEST(PartBegin, RangesCoverAllItemsAndDifferByAtMostOne) {
  for (std::size_t items : {0u, 1u, 5u, 16u, 17u}) {
    for (std::size_t parts : {1u, 2u, 3u, 8u}) {
      EXPECT_EQ(PartBegin(items, parts, 0), 0u);
      EXPECT_EQ(PartBegin(items, parts, parts), items);
      for (std::size_t p = 0; p < parts; ++p) {
        const std::size_t size = PartBegin(items, parts, p + 1) - PartBegin(items, parts, p);
        EXPECT_GE(size, items / parts);
        EXPECT_LE(size, items / parts + 1);
      }
    }
  }
}

}  // namespace
}  // namespace cairn
