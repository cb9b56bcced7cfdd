#include "launch/coordinator/step_clock.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <random>
#include <vector>

namespace cairn::launch {
namespace {

TEST(StepClock, LockStep) {
  StepClock clock;
  clock.Enter(1, 0);
  clock.Enter(2, 0);
  EXPECT_FALSE(clock.WaitsFor(1, 0, 0));
  EXPECT_FALSE(clock.WaitsFor(2, 0, 0));
  EXPECT_TRUE(clock.WaitsFor(1, 1, 0)) << "its own step is not done";
  clock.Done(1, 1);
  const auto slowest = clock.WaitsFor(1, 1, 0);
  ASSERT_TRUE(slowest.has_value());
  EXPECT_EQ(slowest->worker, 2u);
  EXPECT_EQ(slowest->behind, 1u);
  EXPECT_FALSE(clock.WaitsFor(2, 0, 0));
  clock.Done(2, 1);
  EXPECT_FALSE(clock.WaitsFor(1, 1, 0));
  EXPECT_FALSE(clock.WaitsFor(2, 1, 0));
}

TEST(StepClock, StalenessIsHowFarAheadAWorkerMayBe) {
  StepClock clock;
  clock.Enter(1, 0);
  clock.Enter(2, 0);
  for (std::uint64_t step = 0; step <= 3; ++step) EXPECT_FALSE(clock.WaitsFor(1, step, 3)) << step;
  EXPECT_EQ(clock.WaitsFor(1, 4, 3)->behind, 4u);
  clock.Done(2, 1);
  clock.Done(1, 4);
  EXPECT_FALSE(clock.WaitsFor(1, 4, 3));
  EXPECT_TRUE(clock.WaitsFor(1, 5, 3));
}

TEST(StepClock, WhoEntersGoesOnWithTheSlowest) {
  StepClock clock;
  clock.Enter(1, 0);
  clock.Enter(2, 0);
  clock.Done(1, 100);
  clock.Done(2, 90);
  clock.Enter(3, 7);  // an incarnation that has done 7 steps
  EXPECT_FALSE(clock.WaitsFor(3, 7, 0));
  EXPECT_TRUE(clock.WaitsFor(3, 8, 0));
  EXPECT_FALSE(clock.WaitsFor(3, 8, 1));
  clock.Enter(3, 8);
  EXPECT_TRUE(clock.WaitsFor(3, 8, 0)) << "it was in already";
  EXPECT_TRUE(clock.WaitsFor(1, 100, 9));
  EXPECT_FALSE(clock.WaitsFor(1, 100, 10));
}

TEST(StepClock, WhoLeavesHoldsNobodyUp) {
  StepClock clock;
  clock.Enter(1, 0);
  clock.Enter(2, 0);
  clock.Done(1, 5);
  EXPECT_TRUE(clock.WaitsFor(1, 5, 0));
  clock.Leave(2);
  EXPECT_FALSE(clock.WaitsFor(1, 5, 0));
  EXPECT_FALSE(clock.WaitsFor(2, 1000, 0)) << "not in the clock";
  clock.Done(2, 1000);
  EXPECT_FALSE(clock.WaitsFor(1, 5, 0));
  clock.Enter(2, 1000);
  clock.Done(2, 999);  // an answer that was lost, sent again
  EXPECT_FALSE(clock.WaitsFor(2, 1000, 0));
}

// Workers that come, work and go at random: no step begins that is too far ahead, and somebody can
// always go on.
TEST(StepClock, NobodyIsAheadOfItsBoundAndSomebodyCanGoOn) {
  for (const std::uint64_t staleness : {0, 1, 5}) {
    std::mt19937 random(7);
    StepClock clock;
    struct Worker {
      bool is_in = false;
      std::uint64_t begun = 0, done = 0;
    };
    std::vector<Worker> workers(5);
    for (int i = 0; i < 20'000; ++i) {
      const auto index = static_cast<std::uint32_t>(random() % workers.size());
      Worker& worker = workers[index];
      if (!worker.is_in) {
        clock.Enter(index, worker.done);
        worker.is_in = true;
      } else if (worker.begun > worker.done) {
        clock.Done(index, ++worker.done);
      } else if (random() % 50 == 0) {
        clock.Leave(index);
        worker.is_in = false;
      } else if (!clock.WaitsFor(index, worker.begun, staleness)) {
        ++worker.begun;
      }
      const bool all_wait = std::ranges::all_of(workers, [&](const Worker& w) {
        const auto id = static_cast<std::uint32_t>(&w - workers.data());
        return w.is_in && w.begun == w.done && clock.WaitsFor(id, w.begun, staleness);
      });
      ASSERT_FALSE(all_wait);
    }
    for (const Worker& worker : workers) EXPECT_GT(worker.done, 100u);
  }
}

}  // namespace
}  // namespace cairn::launch
