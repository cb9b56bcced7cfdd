#include "tests/bench/train/peak.h"

#include <time.h>

#include <algorithm>
#include <chrono>
#include <vector>

namespace cairn::bench {
namespace {

constexpr int kSums = 24;
constexpr long kRounds = 2'000'000;

typedef float Vec16 __attribute__((vector_size(64)));
typedef float Vec8 __attribute__((vector_size(32)));
typedef float Vec4 __attribute__((vector_size(16)));

template <typename Vec>
[[gnu::always_inline]] inline float MultiplyAdd(long rounds) {
  Vec sum[kSums];
  for (int i = 0; i < kSums; ++i) sum[i] = Vec{} + 0.001f * static_cast<float>(i);
  Vec factor = Vec{} + 0.999f, term = Vec{} + 0.001f;
  asm volatile("" : "+v"(factor), "+v"(term));
  for (long r = 0; r < rounds; ++r) {
#pragma GCC unroll 24
    for (int i = 0; i < kSums; ++i) sum[i] = sum[i] * factor + term;
  }
  Vec all{};
  for (int i = 0; i < kSums; ++i) all += sum[i];
  return all[0];
}

double ThreadSeconds() {
  timespec time;
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time);
  return static_cast<double>(time.tv_sec) + 1e-9 * static_cast<double>(time.tv_nsec);
}

__attribute__((target("avx512f,prefer-vector-width=512"))) float Wide(long rounds) {
  return MultiplyAdd<Vec16>(rounds);
}
__attribute__((target("avx2,fma"))) float Middle(long rounds) { return MultiplyAdd<Vec8>(rounds); }
float Narrow(long rounds) { return MultiplyAdd<Vec4>(rounds); }

}  // namespace

Peak MeasurePeak(ThreadPool& pool) {
  const bool wide = __builtin_cpu_supports("avx512f");
  const bool middle = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
  const auto run = wide ? &Wide : middle ? &Middle : &Narrow;
  const double lanes = wide ? 16 : middle ? 8 : 4;
  const double operations = 2 * lanes * kSums * kRounds;
  std::vector<float> sinks(pool.threads());
  std::vector<double> cpu(pool.threads());
  Peak best;
  for (int attempt = 0; attempt < 7; ++attempt) {
    const auto start = std::chrono::steady_clock::now();
    pool.Run([&](int thread) {
      const double cpu_start = ThreadSeconds();
      sinks[thread] = run(kRounds);
      cpu[thread] = ThreadSeconds() - cpu_start;
    });
    const std::chrono::duration<double> seconds = std::chrono::steady_clock::now() - start;
    best.per_second = std::max(best.per_second, operations * pool.threads() / seconds.count());
    for (double used : cpu) best.per_cpu_second = std::max(best.per_cpu_second, operations / used);
  }
  volatile float sink = sinks[0];
  static_cast<void>(sink);
  return best;
}

}  // namespace cairn::bench
