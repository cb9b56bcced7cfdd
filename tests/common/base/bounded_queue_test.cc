#include "common/base/bounded_queue.h"

#include <atomic>
#include <thread>

#include <gtest/gtest.h>

namespace cairn {
namespace {

TEST(BoundedQueue, ItemsLeaveInTheOrderTheyCame) {
  BoundedQueue<int> queue(4);
  for (int i = 0; i < 4; ++i) EXPECT_TRUE(queue.Push(i));
  for (int i = 0; i < 4; ++i) EXPECT_EQ(queue.Pop(), i);
}

TEST(BoundedQueue, ClosedQueueDrainsAndThenEnds) {
  BoundedQueue<int> queue(4);
  ASSERT_TRUE(queue.Push(7));
  queue.Close();
  EXPECT_FALSE(queue.Push(8));
  EXPECT_EQ(queue.Pop(), 7);
  EXPECT_EQ(queue.Pop(), std::nullopt);
}

TEST(BoundedQueue, FullQueueHoldsTheProducerUntilThereIsRoom) {
  BoundedQueue<int> queue(1);
  std::atomic<int> sum{0};
  std::thread consumer([&] {
    while (auto item = queue.Pop()) sum += *item;
  });
  for (int i = 1; i <= 1000; ++i) ASSERT_TRUE(queue.Push(i));
  queue.Close();
  consumer.join();
  EXPECT_EQ(sum, 500500);
}

TEST(BoundedQueue, RoomIsWaitedForAndNotTaken) {
  BoundedQueue<int> queue(1);
  EXPECT_TRUE(queue.WaitForRoom());
  EXPECT_TRUE(queue.WaitForRoom());
  ASSERT_TRUE(queue.Push(1));
  std::atomic<int> popped{0};
  std::thread consumer([&] { popped = *queue.Pop(); });
  EXPECT_TRUE(queue.WaitForRoom());
  // The item may still be on its way to `popped`, but it has left the queue.
  consumer.join();
  EXPECT_EQ(popped, 1);
  queue.Close();
  EXPECT_FALSE(queue.WaitForRoom());
}

}  // namespace
}  // namespace cairn
