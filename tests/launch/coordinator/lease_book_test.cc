#include "launch/coordinator/lease_book.h"

#include <deque>
#include <map>
#include <string>
#include <vector>

#include "common/math/rng.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace cairn::launch {
namespace {

using ::testing::ElementsAre;

LeaseBook::Options Windows(std::uint64_t window_rows, std::uint64_t lease_rows) {
  LeaseBook::Options options;
  options.window_rows = window_rows;
  options.lease_rows = lease_rows;
  return options;
}

std::string Text(const Lease& lease) {
  return StrCat(lease.window, ":", lease.begin, "-", lease.end);
}

// What a worker finds in a data set of `rows` rows.
std::optional<std::uint64_t> Found(const Lease& lease, std::uint64_t window_rows,
                                   std::uint64_t rows) {
  const std::uint64_t first = lease.window * window_rows;
  if (first >= rows) return 0;
  const std::uint64_t in_window = std::min(window_rows, rows - first);
  return first + in_window == rows ? std::optional(in_window) : std::nullopt;
}

TEST(LeaseBook, LeasesCutWindowsInOrder) {
  LeaseBook::Options options = Windows(10, 4);
  options.total_rows = 23;
  LeaseBook book(options);
  std::vector<std::string> leases;
  while (const auto lease = book.Next(1)) {
    leases.push_back(Text(*lease));
    EXPECT_TRUE(book.Complete(lease->id, 1, Found(*lease, 10, 23)).ok());
  }
  EXPECT_THAT(leases, ElementsAre("0:0-4", "0:4-8", "0:8-10", "1:0-4", "1:4-8", "1:8-10", "2:0-3"));
  EXPECT_TRUE(book.done());
}

TEST(LeaseBook, StartsInTheMiddle) {
  LeaseBook::Options options = Windows(10, 4);
  options.start = 18;
  LeaseBook book(options);
  EXPECT_EQ(Text(*book.Next(1)), "1:8-10");
  EXPECT_EQ(Text(*book.Next(1)), "2:0-4");
}

TEST(LeaseBook, LearnsTheEndFromAShortWindow) {
  LeaseBook book(Windows(10, 4));
  const Lease first = *book.Next(1);
  const Lease beyond = *book.Next(1);
  EXPECT_EQ(book.total_rows(), 0u);
  EXPECT_TRUE(book.Complete(first.id, 1, 3).ok());
  EXPECT_EQ(book.total_rows(), 3u);
  EXPECT_EQ(book.Next(1), std::nullopt);
  EXPECT_FALSE(book.done()) << "a lease beyond the end is still out";
  EXPECT_TRUE(book.Complete(beyond.id, 1, 3).ok());
  EXPECT_TRUE(book.done());
  EXPECT_EQ(book.position(), 3u);
}

TEST(LeaseBook, AnEmptyWindowOnlyBoundsTheEnd) {
  LeaseBook book(Windows(4, 4));
  const Lease zero = *book.Next(1);
  const Lease one = *book.Next(1);
  const Lease two = *book.Next(2);
  EXPECT_TRUE(book.Complete(two.id, 2, 0).ok());
  EXPECT_EQ(book.total_rows(), 8u);
  EXPECT_TRUE(book.Complete(one.id, 1, 2).ok());
  EXPECT_EQ(book.total_rows(), 6u);
  EXPECT_TRUE(book.Complete(zero.id, 1, std::nullopt).ok());
  EXPECT_TRUE(book.done());
}

TEST(LeaseBook, AFileThatEndsWithAWindowEndsThere) {
  LeaseBook book(Windows(4, 4));
  const Lease zero = *book.Next(1);
  EXPECT_TRUE(book.Complete(zero.id, 1, std::nullopt).ok());
  const Lease one = *book.Next(1);
  EXPECT_TRUE(book.Complete(one.id, 1, 0).ok());
  EXPECT_TRUE(book.done());
  EXPECT_EQ(book.total_rows(), 4u);
}

TEST(LeaseBook, PausedItHandsOutOnlyWhatCameBack) {
  LeaseBook book(Windows(100, 10));
  const Lease a = *book.Next(1);
  const Lease b = *book.Next(2);
  book.Pause();
  EXPECT_EQ(book.Next(2), std::nullopt);
  const LeaseBook::Returned returned = book.GiveBack(1);
  EXPECT_EQ(returned.leases, 1);
  EXPECT_EQ(returned.rows, 10u);
  const Lease again = *book.Next(2);
  EXPECT_EQ(Text(again), Text(a));
  EXPECT_NE(again.id, a.id);
  EXPECT_TRUE(book.Complete(b.id, 2, std::nullopt).ok());
  EXPECT_FALSE(book.quiescent());
  EXPECT_TRUE(book.Complete(again.id, 2, std::nullopt).ok());
  EXPECT_TRUE(book.quiescent());
  EXPECT_EQ(book.position(), 20u);
  book.Resume();
  EXPECT_EQ(Text(*book.Next(2)), "0:20-30");
}

TEST(LeaseBook, OnlyTheHolderCompletesALease) {
  LeaseBook book(Windows(100, 10));
  const Lease a = *book.Next(1);
  EXPECT_TRUE(absl::IsNotFound(book.Complete(a.id, 2, std::nullopt)));
  book.GiveBack(1);
  EXPECT_TRUE(absl::IsNotFound(book.Complete(a.id, 1, std::nullopt)));
  EXPECT_FALSE(book.quiescent());
}

TEST(LeaseBook, RefusesDataThatChanges) {
  LeaseBook::Options options = Windows(10, 10);
  options.total_rows = 25;
  for (const std::uint64_t rows : {24, 5, 10, 29}) {
    SCOPED_TRACE(rows);
    LeaseBook book(options);
    Status status;
    while (status.ok()) {
      const auto lease = book.Next(1);
      if (!lease) break;
      status = book.Complete(lease->id, 1, Found(*lease, 10, rows));
    }
    EXPECT_TRUE(absl::IsFailedPrecondition(status)) << status;
    EXPECT_THAT(std::string(status.message()), ::testing::HasSubstr("25 rows"));
  }
}

TEST(LeaseBook, RefusesAWindowLargerThanItsSize) {
  LeaseBook book(Windows(10, 10));
  const Lease lease = *book.Next(1);
  EXPECT_TRUE(absl::IsInvalidArgument(book.Complete(lease.id, 1, 11)));
}

// Holders come and go at random and end their leases in any order.
TEST(LeaseBook, EveryRowIsDoneExactlyOnce) {
  for (std::uint64_t seed = 1; seed <= 200; ++seed) {
    SCOPED_TRACE(seed);
    Rng rng(seed, 0);
    const std::uint64_t window_rows = 1 + rng.NextBelow(20);
    const std::uint64_t rows = 1 + rng.NextBelow(100);
    LeaseBook::Options options = Windows(window_rows, 1 + rng.NextBelow(8));
    if (rng.NextBelow(2) == 0) options.total_rows = rows;
    LeaseBook book(options);
    std::map<std::uint64_t, int> done;
    std::deque<std::pair<std::uint64_t, Lease>> out;
    while (!book.done()) {
      const std::uint64_t choice = rng.NextBelow(10);
      const std::uint64_t holder = 1 + rng.NextBelow(5);
      if (choice == 0) {
        book.GiveBack(holder);
        std::erase_if(out, [&](const auto& entry) { return entry.first == holder; });
      } else if (choice < 6 || out.empty()) {
        if (const auto lease = book.Next(holder)) out.emplace_back(holder, *lease);
      } else {
        const std::size_t i = rng.NextBelow(out.size());
        const auto [who, lease] = out[i];
        out.erase(out.begin() + static_cast<std::ptrdiff_t>(i));
        const std::uint64_t first = lease.window * window_rows;
        for (std::uint64_t r = first + lease.begin; r < std::min(rows, first + lease.end); ++r) {
          ++done[r];
        }
        ASSERT_TRUE(book.Complete(lease.id, who, Found(lease, window_rows, rows)).ok());
      }
    }
    EXPECT_EQ(book.total_rows(), rows);
    EXPECT_EQ(done.size(), rows);
    for (const auto& [row, count] : done) EXPECT_EQ(count, 1) << "row " << row;
  }
}

}  // namespace
}  // namespace cairn::launch
