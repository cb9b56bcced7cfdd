#include "worker/client/slot_router.h"

#include <gtest/gtest.h>

#include <numeric>

#include "common/math/hash.h"
#include "common/math/rng.h"
#include "worker/client/body_sink.h"

namespace cairn::worker {
namespace {

TEST(SlotRouter, SlotsAreCutEvenly) {
  for (const int slot_bits : {0, 3, 10}) {
    for (const std::uint32_t servers : {1u, 2u, 3u, 7u}) {
      const SlotRouter router(slot_bits, servers);
      const std::uint64_t slots = std::uint64_t{1} << slot_bits;
      Rng rng(1, 2);
      for (int i = 0; i < 2000; ++i) {
        const std::uint64_t key = rng.NextU64();
        const std::uint64_t owner = router.OwnerOf(key);
        const std::uint64_t slot = SlotOf(key, slot_bits);
        EXPECT_GE(slot, owner * slots / servers);
        EXPECT_LT(slot, (owner + 1) * slots / servers);
      }
    }
  }
}

TEST(SlotRouter, SplitKeepsEveryKeyOnceWithItsPositionAndOrder) {
  const SlotRouter router(8, 3);
  KeySplit split;
  for (const std::size_t count : {0u, 1u, 2u, 1000u, 7u}) {
    std::vector<std::uint64_t> keys(count);
    Rng rng(count, 3);
    for (auto& key : keys) key = rng.NextU64();
    router.Split(keys, &split);
    ASSERT_EQ(split.keys.size(), count);
    std::vector<int> seen(count, 0);
    for (std::uint32_t s = 0; s < 3; ++s) {
      const auto own = split.Keys(s);
      const auto positions = split.Positions(s);
      for (std::size_t i = 0; i < own.size(); ++i) {
        EXPECT_EQ(router.OwnerOf(own[i]), s);
        EXPECT_EQ(keys[positions[i]], own[i]);
        if (i > 0) {
          EXPECT_LT(positions[i - 1], positions[i]);
        }
        ++seen[positions[i]];
      }
    }
    EXPECT_EQ(std::accumulate(seen.begin(), seen.end(), std::size_t{0}), count);
  }
}

TEST(SlotRouter, DenseRunsCoverEveryFloatOnceByTheChunksOwner) {
  const DenseLayout layout = {{"a", {100, 1000}}, {"b", {}}, {"c", {16384}}, {"d", {7}}};
  for (const std::uint32_t servers : {1u, 3u}) {
    const SlotRouter router(10, servers);
    const auto runs = router.DenseRuns(layout);
    std::vector<int> owner(100000 + 1 + 16384 + 7, -1);
    for (std::uint32_t s = 0; s < servers; ++s) {
      for (const DenseRun& run : runs[s]) {
        for (std::uint64_t i = run.offset; i < run.offset + run.floats; ++i) {
          EXPECT_EQ(owner[i], -1);
          owner[i] = static_cast<int>(s);
        }
      }
    }
    EXPECT_EQ(owner[20000], static_cast<int>(router.OwnerOf(DenseChunkKey("a", 1))));
    EXPECT_EQ(owner[100000], static_cast<int>(router.OwnerOf(DenseChunkKey("b", 0))));
    EXPECT_EQ(owner[116391], static_cast<int>(router.OwnerOf(DenseChunkKey("d", 0))));
    if (servers == 1) {
      EXPECT_EQ(runs[0].size(), 1u);
    }
  }
}

TEST(BodySink, BytesLandTheSameHoweverTheyAreCut) {
  constexpr std::uint32_t kDim = 3;
  const std::vector<std::uint32_t> positions = {4, 0, 2};
  std::vector<float> body(5 + 3 * kDim + 1);
  std::iota(body.begin(), body.end(), 1.0f);
  const auto bytes = std::as_bytes(std::span(body));
  for (std::size_t piece = 1; piece <= bytes.size(); ++piece) {
    std::vector<float> run(5, 0), rows(5 * kDim, 0), last(1, 0);
    BodySink sink;
    sink.AddRun(run);
    sink.AddRows(rows.data(), {}, kDim);
    sink.AddRows(rows.data(), positions, kDim);
    sink.AddRun(last);
    ASSERT_EQ(sink.total_bytes(), bytes.size());
    // A first attempt that breaks off leaves no trace.
    sink.Write(bytes.first(piece));
    sink.Rewind();
    for (std::size_t at = 0; at < bytes.size(); at += piece) {
      sink.Write(bytes.subspan(at, std::min(piece, bytes.size() - at)));
    }
    EXPECT_EQ(run, (std::vector<float>{1, 2, 3, 4, 5}));
    EXPECT_EQ(rows, (std::vector<float>{9, 10, 11, 0, 0, 0, 12, 13, 14, 0, 0, 0, 6, 7, 8}));
    EXPECT_EQ(last[0], 15);
  }
}

}  // namespace
}  // namespace cairn::worker
