// The anonymous memory of a server's process with a limit.
#include <algorithm>
#include <atomic>
#include <cmath>
#include <thread>
#include <vector>

#include "ps/tier/anonymous_memory.h"
#include "tests/ps/server/shard_cluster.h"

namespace cairn::ps {
namespace {

constexpr std::uint64_t kMiB = 1u << 20;
// A sanitizer's own memory counts as the process's.
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
constexpr bool kMeasures = false;
constexpr std::uint64_t kRows = 40'000, kRequests = 20;
#else
constexpr bool kMeasures = true;
constexpr std::uint64_t kRows = 600'000, kRequests = 60;
#endif
constexpr std::uint64_t kMemoryMib = 64;
constexpr std::size_t kDim = 16, kKeys = 5000;

std::uint64_t TableBytes(const PsCore& core) {
  proto::PsStatsReply stats;
  core.Stats(&stats);
  return stats.table(0).bytes();
}

// Twice as many rows as there is room for: first all of them, then requests of which half are
// popular rows, by two threads.
TEST(MemoryLimit, IsKeptWhileRowsComeAndGo) {
  const TempFolder folder;
  proto::JobConfig job = ParseJob("table { name: 't' dim: 16 optimizer { adagrad {} } }");
  job.mutable_server()->set_memory_mib(kMemoryMib);
  const auto core = PsCore::Make(job, {.folder = folder / "ps", .owns_process = true}).value();
  proto::RestoreReply restored;
  ASSERT_EQ(core->Restore("", &restored), OkStatus());
  std::atomic<std::uint64_t> most{0}, most_of_table{0};
  const auto measure = [&] {
    most = std::max(most.load(), AnonymousMemoryBytes());
    most_of_table = std::max(most_of_table.load(), TableBytes(*core));
  };
  const std::vector<float> gradients(kKeys * kDim, 0.5f);
  const auto push = [&](const std::vector<std::uint64_t>& keys) {
    const RowsUpdate update{0, keys, gradients.data()};
    ASSERT_EQ(core->Push({&update, 1}, {}, {}, 1), OkStatus());
  };
  for (std::uint64_t row = 0; row < kRows; row += kKeys) {
    std::vector<std::uint64_t> keys(kKeys);
    for (std::size_t i = 0; i < kKeys; ++i) keys[i] = row + i;
    push(keys);
    measure();
  }
  const auto train = [&](std::uint64_t seed) {
    Rng rng(seed, 3);
    std::vector<float> values(kKeys * kDim);
    for (std::uint64_t i = 0; i < kRequests; ++i) {
      std::vector<std::uint64_t> keys;
      while (keys.size() < kKeys) {
        const double popular = std::pow(static_cast<double>(kRows), rng.NextDouble()) - 1;
        keys.push_back(keys.size() % 2 == 0 ? rng.NextBelow(kRows)
                                            : static_cast<std::uint64_t>(popular));
      }
      std::ranges::sort(keys);
      keys.erase(std::ranges::unique(keys).begin(), keys.end());
      const RowsRead read{0, keys, values.data()};
      ASSERT_EQ(core->Pull({&read, 1}, AbsentRow::kInitialValue), OkStatus());
      push(keys);
      measure();
    }
  };
  std::thread other([&] { train(1); });
  train(2);
  other.join();
  proto::PsStatsReply stats;
  core->Stats(&stats);
  EXPECT_EQ(stats.table(0).rows(), kRows);
  if (!kMeasures) return;
  EXPECT_GT(stats.table(0).spilled_rows(), kRows / 2);
  EXPECT_LE(most, kMemoryMib * kMiB * 6 / 5);
  EXPECT_GE(most_of_table, kMemoryMib * kMiB / 3) << "rows should have most of it";
  EXPECT_GE(TableBytes(*core), kMemoryMib * kMiB / 5) << "what is left must not go on shrinking";
}

}  // namespace
}  // namespace cairn::ps
