// Attention against what the arithmetic of one core allows, and training steps of InterFormer on
// batches of the public data sets' shapes.
//
//   bench_nn [--seconds=1] [--threads=1] [--rows=480] [--layers=2] [--block_rows=0]
//
// The limit counts multiply-adds only: 2 T^2 d forward (scores, values) and 5 T^2 d backward
// (scores again, values, A', Q', K'), not the exponentials. Times are of the processor, the best of
// all calls.
#include <time.h>

#include <algorithm>
#include <cstdio>
#include <functional>

#include <gflags/gflags.h>
#include <glog/logging.h>

#include "common/base/thread_pool.h"
#include "common/math/rng.h"
#include "proto/config.pb.h"
#include "tests/bench/train/peak.h"
#include "worker/models/model.h"
#include "worker/nn/graph.h"
#include "worker/nn/huge_buffer.h"
#include "worker/nn/kernels/kernels.h"

DEFINE_double(seconds, 1, "measure each for about this long");
DEFINE_int32(threads, 1, "compute threads of the training steps");
DEFINE_int32(rows, 480, "rows of a training step");
DEFINE_int32(layers, 2, "of InterFormer");
DEFINE_int32(block_rows, 0, "rows of a block; 0: the graph's choice");

namespace cairn::bench {
namespace {

using worker::nn::kLanes;

double CpuSeconds() {
  timespec time;
  clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &time);
  return static_cast<double>(time.tv_sec) + 1e-9 * static_cast<double>(time.tv_nsec);
}

// The least seconds that a call takes: others use the machine too.
double Time(const std::function<void()>& call) {
  call();
  std::vector<double> times;
  const double start = CpuSeconds();
  do {
    const double before = CpuSeconds();
    call();
    times.push_back(CpuSeconds() - before);
  } while (CpuSeconds() - start < FLAGS_seconds || times.size() < 3);
  return *std::min_element(times.begin(), times.end());
}

worker::nn::HugeBuffer<float> Random(std::size_t n, std::uint64_t seed) {
  worker::nn::HugeBuffer<float> values(n);
  FillNormal(seed, 1, 0, 1, {values.data(), n});
  return values;
}

void MeasureAttention(std::size_t tokens, std::size_t dim, std::size_t heads, double peak) {
  constexpr std::size_t kPanels = 3;
  const auto& kernels = *worker::nn::FindKernels<float>(worker::nn::Isa::kBest);
  const std::size_t n = kPanels * tokens * dim * kLanes;
  auto q = Random(n, 1), k = Random(n, 2), v = Random(n, 3), out = Random(n, 4),
       dout = Random(n, 5);
  auto dq = Random(n, 6), dk = Random(n, 7), dv = Random(n, 8);
  worker::nn::HugeBuffer<float> mask(kPanels * tokens * kLanes);
  std::fill_n(mask.data(), kPanels * tokens * kLanes, 1.f);
  worker::nn::AttentionArgs<float> args;
  args.shape = {tokens, tokens, heads, dim, dim, 0.25f, true};
  args.panels = kPanels;
  args.q = q.data();
  args.k = k.data();
  args.v = v.data();
  args.key_mask = mask.data();
  args.out = out.data();
  worker::nn::HugeBuffer<float> statistics(kPanels * heads * tokens * 2 * kLanes);
  worker::nn::HugeBuffer<float> workspace(kernels.attention_workspace(args.shape));
  args.statistics = statistics.data();
  args.workspace = workspace.data();
  const double forward = Time([&] { kernels.attention(args); });
  const double backward = Time([&] {
    kernels.attention_gradient({args, out.data(), dout.data(), dq.data(), dk.data(), dv.data()});
  });
  const double unit = 2.0 * kPanels * kLanes * tokens * tokens * dim;
  std::printf(
      "attention T=%zu d=%zu heads=%zu: us/row forward %.2f backward %.2f; of the limit forward "
      "%.2f backward %.2f both %.2f\n",
      tokens, dim, heads, forward * 1e6 / (kPanels * kLanes), backward * 1e6 / (kPanels * kLanes),
      2 * unit / forward / peak, 5 * unit / backward / peak,
      7 * unit / (forward + backward) / peak);
}

struct Shape {
  const char* name;
  int histories, others;
  std::uint32_t dim, length, heads;
};

void MeasureInterformer(const Shape& shape) {
  using Kind = worker::FieldSpec::Kind;
  constexpr std::uint32_t kIds = 2000;
  worker::ModelContext context{.fields = {}, .seed = 1};
  worker::Batch batch;
  batch.rows = static_cast<std::uint32_t>(FLAGS_rows);
  Rng rng(3, 0);
  for (int i = 0; i < shape.histories + shape.others; ++i) {
    const bool is_history = i < shape.histories;
    context.fields.push_back({.name = StrCat("f", i),
                              .kind = is_history ? Kind::kSequence : Kind::kCategorical,
                              .field = i,
                              .table = 0,
                              .dim = shape.dim});
    worker::FieldColumn& column = batch.fields.emplace_back();
    const std::uint32_t values = is_history ? shape.length : 1;
    if (is_history) {
      context.fields.back().pooling = worker::FieldSpec::Pooling::kHistory;
      context.fields.back().max_length = shape.length;
      for (std::uint32_t r = 0; r <= batch.rows; ++r) column.offsets.push_back(r * values);
    }
    for (std::uint32_t v = 0; v < batch.rows * values; ++v)
      column.index.push_back(static_cast<std::uint32_t>(rng.NextBelow(kIds)));
  }
  for (std::uint32_t r = 0; r < batch.rows; ++r)
    batch.labels.push_back(static_cast<float>(rng.NextBelow(2)));
  batch.unique_keys.assign(1, std::vector<std::uint64_t>(kIds));
  proto::ModelConfig config;
  config.mutable_interformer()->set_layers(static_cast<std::uint32_t>(FLAGS_layers));
  config.mutable_interformer()->set_heads(shape.heads);
  worker::nn::GraphBuilder builder(1);
  const auto logit = (*worker::FindModel(config))->build(config, context, builder);
  CHECK(logit.ok()) << logit.status();
  ThreadPool pool(FLAGS_threads);
  auto graph = *worker::nn::Graph::Make(builder, *logit,
                                        {.max_rows = batch.rows,
                                         .pool = &pool,
                                         .block_rows = static_cast<std::size_t>(FLAGS_block_rows)});
  const std::vector<float> dense = builder.InitialValues();
  std::vector<float> gradients(dense.size()), row_gradients(kIds * shape.dim);
  auto rows = Random(kIds * shape.dim, 1);
  const worker::nn::TableRows tables[] = {{rows.data(), row_gradients.data()}};
  std::uint64_t step = 0;
  const double seconds = Time([&] {
    const auto result = graph->TrainStep({&batch, tables, dense, step++}, {gradients, {}});
    CHECK_EQ(result.first_non_finite_row, -1);
  });
  std::printf("interformer %s: %zu parameters, %.1f us/row, %.0f rows/s of a core, %zu MB\n",
              shape.name, dense.size(), seconds * 1e6 / batch.rows, batch.rows / seconds,
              graph->MemoryBytes() >> 20);
}

void Run() {
  ThreadPool pool(1);
  const double peak = MeasurePeak(pool).per_cpu_second;
  std::printf("peak of one thread: %.1f Gflop/s\n", peak / 1e9);
  MeasureAttention(54, 32, 2, peak);
  MeasureAttention(104, 64, 4, peak);
  MeasureAttention(104, 64, 1, peak);
  MeasureInterformer({"TaobaoAds", 3, 17, 32, 50, 2});
  MeasureInterformer({"AmazonElectronics", 2, 2, 64, 100, 4});
}

}  // namespace
}  // namespace cairn::bench

int main(int argc, char** argv) {
  gflags::ParseCommandLineFlags(&argc, &argv, true);
  cairn::bench::Run();
}
