#include "ps/table/row_memory.h"

#include <sys/mman.h>

#include <algorithm>
#include <cstring>
#include <set>
#include <vector>

#include <gtest/gtest.h>

#include "common/math/rng.h"

namespace cairn::ps {
namespace {

// Each row is its holder's, whoever else comes and goes; the lowest free ones come first.
TEST(RowMemory, RowsAreTheirHoldersAndTheLowestComeFirst) {
  RowMemory memory(12, 20);
  Rng rng(1, 2);
  std::set<std::uint32_t> held;
  const auto mark = [&](std::uint32_t row) { return static_cast<int>(row % 251); };
  const auto expect_mark = [&](std::uint32_t row) {
    for (int i = 0; i < 12; ++i) ASSERT_EQ(static_cast<int>(memory.Value(row)[i]), mark(row));
    for (int i = 0; i < 20; ++i) ASSERT_EQ(static_cast<int>(memory.Rest(row)[i]), mark(row));
  };
  for (int round = 0; round < 3000; ++round) {
    std::vector<std::uint32_t> rows;
    if (rng.NextBelow(100) < (round / 500 % 2 == 0 ? 70u : 30u)) {
      std::uint32_t lowest = 0;
      while (held.contains(lowest)) ++lowest;
      memory.Take(1 + rng.NextBelow(100), &rows);
      ASSERT_FALSE(rows.empty());
      ASSERT_EQ(rows[0], lowest);
      ASSERT_TRUE(std::ranges::is_sorted(rows));
      for (const std::uint32_t row : rows) {
        ASSERT_TRUE(held.insert(row).second);
        std::memset(memory.Value(row), mark(row), 12);
        std::memset(memory.Rest(row), mark(row), 20);
      }
    } else {
      for (auto row = held.begin(); row != held.end() && rows.size() < 100;) {
        if (rng.NextBelow(8) == 0) {
          expect_mark(*row);
          rows.push_back(*row);
          row = held.erase(row);
        } else {
          ++row;
        }
      }
      memory.Return(rows);
    }
    if (rng.NextBelow(10) == 0) memory.Trim();
    ASSERT_EQ(memory.used(), held.size());
    ASSERT_GE(memory.end(), held.empty() ? 0 : *held.rbegin() + 1);
    const auto bound = static_cast<std::uint32_t>(rng.NextBelow(3000));
    std::uint32_t lowest = 0;
    while (held.contains(lowest)) ++lowest;
    const auto below = memory.TakeBelow(bound);
    if (lowest < memory.end() && lowest < bound) {
      ASSERT_EQ(below, lowest);
      memory.Return({&lowest, 1});
    } else {
      ASSERT_EQ(below, std::nullopt);
    }
  }
  for (const std::uint32_t row : held) expect_mark(row);
}

bool IsResident(const std::byte* at) {
  const auto page = reinterpret_cast<std::uintptr_t>(at) / 4096 * 4096;
  unsigned char in_memory = 0;
  EXPECT_EQ(mincore(reinterpret_cast<void*>(page), 4096, &in_memory), 0);
  return (in_memory & 1) != 0;
}

// The kernel has the pages behind the last row in use, but for a part of a huge page; and rows that
// use them again are as good as new ones.
TEST(RowMemory, PagesBehindTheLastRowInUseAreReturned) {
  constexpr std::uint32_t kRows = 400'000, kKept = 30'000;
  constexpr std::size_t kHugePage = 2u << 20;
  RowMemory memory(64, 80);
  std::vector<std::uint32_t> rows;
  for (int again = 0; again < 2; ++again) {
    while (memory.used() < kRows) memory.Take(64, &rows);
    for (const std::uint32_t row : rows) {
      std::memset(memory.Value(row), 1, 64);
      std::memset(memory.Rest(row), 2, 80);
    }
    EXPECT_GE(memory.bytes(), std::size_t{kRows} * 144);
    EXPECT_LE(memory.bytes(), std::size_t{kRows} * 144 + 4 * kHugePage);
    // One row at the end holds everything.
    std::swap(rows[kKept], rows.back());
    memory.Return(std::span(rows).subspan(kKept + 1));
    memory.Trim();
    EXPECT_GE(memory.bytes(), std::size_t{kRows} * 144);
    memory.Return({&rows[kKept], 1});
    memory.Trim();
    rows.resize(kKept);
    EXPECT_GE(memory.bytes(), std::size_t{kKept} * 144);
    EXPECT_LE(memory.bytes(), std::size_t{kKept} * 144 + 2 * kHugePage);
    std::size_t resident = 0;
    for (std::uint32_t row = memory.end(); row < kRows; row += 16) {
      resident += IsResident(memory.Value(row)) ? 16 * 64 : 0;
      resident += IsResident(memory.Rest(row)) ? 16 * 80 : 0;
    }
    EXPECT_LE(resident, 2 * kHugePage);
    for (const std::uint32_t row : rows) {
      ASSERT_EQ(memory.Value(row)[63], std::byte{1});
      ASSERT_EQ(memory.Rest(row)[79], std::byte{2});
    }
  }
}

}  // namespace
}  // namespace cairn::ps
