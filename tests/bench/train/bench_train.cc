// Rows per second of training a model on batches that are ready in memory: gather of the rows,
// forward, loss, backward, Adam for the dense parameters and for the batch's rows.
//
//   bench_train --threads=2 --seconds=10 [--data=FILE to write the batches for the torch peer]
//
// Lines "STEP <seconds>" of each measured step go to stdout, then RESULT lines.
#include <time.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdio>

#include <gflags/gflags.h>
#include <glog/logging.h>
#include <google/protobuf/text_format.h>

#include "common/base/thread_pool.h"
#include "proto/config.pb.h"
#include "tests/bench/train/click_batches.h"
#include "tests/bench/train/peak.h"
#include "tests/bench/train/plain_adam.h"
#include "worker/models/model.h"
#include "worker/nn/graph.h"

DEFINE_string(model, "dlf", "dlf, lr or mgdin");
DEFINE_string(options, "", "of the model, as in a job: \"layers: 2 dropout: 0.1\"");
DEFINE_int32(threads, 2, "compute threads");
DEFINE_double(seconds, 10, "measure for about this long");
DEFINE_int32(rows, 4096, "rows of a batch");
DEFINE_int32(fields, 39, "categorical fields");
DEFINE_int32(dim, 16, "width of an embedding (dlf)");
DEFINE_int32(block_rows, 0, "rows of a block; 0: the graph's choice");
DEFINE_string(data, "", "write the batches to this file");

namespace cairn::bench {
namespace {

using Clock = std::chrono::steady_clock;

double Since(Clock::time_point start) {
  return std::chrono::duration<double>(Clock::now() - start).count();
}

// Processor time of all threads. On a machine that others use too it says what wall time cannot.
double CpuSeconds() {
  timespec time;
  clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &time);
  return static_cast<double>(time.tv_sec) + 1e-9 * static_cast<double>(time.tv_nsec);
}

double Median(std::vector<double> values) {
  std::nth_element(values.begin(), values.begin() + values.size() / 2, values.end());
  return values[values.size() / 2];
}

proto::ModelConfig Config() {
  proto::ModelConfig config;
  const std::string text = StrCat(FLAGS_model, " { ", FLAGS_options, " }");
  CHECK(google::protobuf::TextFormat::ParseFromString(text, &config)) << text;
  return config;
}

class Training {
 public:
  Training(const ClickData& data, ThreadPool& pool)
      : pool_(pool),
        maker_(data),
        dim_(FLAGS_model == "lr" ? 1 : FLAGS_dim),
        table_(data.shape.ids, dim_, 1e-4f, 1) {
    const proto::ModelConfig config = Config();
    worker::ModelContext context{.fields = {}, .seed = 1};
    for (std::uint32_t f = 0; f < data.shape.fields; ++f)
      context.fields.push_back({.name = StrCat("f", f),
                                .field = static_cast<int>(f),
                                .table = 0,
                                .dim = dim_,
                                .density = data.shape.fields - f});
    worker::nn::GraphBuilder builder(1);
    const auto logit = (*worker::FindModel(config))->build(config, context, builder);
    CHECK(logit.ok()) << logit.status();
    parameters_ = builder.InitialValues();
    gradients_.resize(parameters_.size());
    adam_ = std::make_unique<DenseAdam>(parameters_.size());
    auto graph =
        worker::nn::Graph::Make(builder, *logit,
                                {.max_rows = data.shape.rows,
                                 .pool = &pool,
                                 .block_rows = static_cast<std::size_t>(FLAGS_block_rows)});
    CHECK(graph.ok()) << graph.status();
    graph_ = std::move(*graph);
  }

  // Returns the seconds inside the graph.
  double Step(std::uint32_t index, double* loss) {
    maker_.Fill(index, batch_);
    const auto& rows = batch_.unique_keys[0];
    values_.resize(rows.size() * dim_);
    value_gradients_.resize(rows.size() * dim_);
    table_.Gather(rows, values_.data(), pool_);
    const worker::nn::TableRows tables[] = {{values_.data(), value_gradients_.data()}};
    const auto start = Clock::now();
    const auto result =
        graph_->TrainStep({&batch_, tables, parameters_, step_++}, {gradients_, {}});
    const double seconds = Since(start);
    CHECK_EQ(result.first_non_finite_row, -1);
    *loss = result.loss_sum / batch_.rows;
    adam_->Apply(parameters_, gradients_, pool_);
    table_.Apply(rows, value_gradients_.data(), pool_);
    return seconds;
  }

  std::size_t parameters() const { return parameters_.size(); }
  std::size_t memory_bytes() const { return graph_->MemoryBytes(); }

 private:
  ThreadPool& pool_;
  BatchMaker maker_;
  std::uint32_t dim_;
  RowAdam table_;
  std::unique_ptr<worker::nn::Graph> graph_;
  std::unique_ptr<DenseAdam> adam_;
  worker::Batch batch_;
  std::uint64_t step_ = 0;
  std::vector<float> parameters_, gradients_, values_, value_gradients_;
};

// Multiplications a row, forward.
double Products(const proto::DlfConfig& dlf) {
  const double d = FLAGS_dim, fields = FLAGS_fields, r = dlf.rank();
  const double made = dlf.implicit_tokens() + 2 * dlf.block_tokens();
  double products = made * d * dlf.head_hidden() + dlf.head_hidden();
  for (std::uint32_t l = 0; l < dlf.layers(); ++l) {
    const double n = l == 0 ? fields : made;
    products += 2 * (2 * n * d * r + n * r * dlf.hidden() + dlf.hidden() * dlf.block_tokens() * d);
    products += n * dlf.implicit_tokens() * d;
    if (l > 0 && fields != made) products += fields * n * d;
    if (n != made) products += n * made * d;
  }
  return products;
}

double Products(const proto::MgdinConfig& mgdin) {
  const double w = mgdin.width(), a = mgdin.attention_width(), layers = mgdin.layers();
  std::vector<std::uint32_t> sizes(mgdin.granularity().begin(), mgdin.granularity().end());
  if (sizes.empty()) sizes = {1, 2, 4};
  double products = 0;
  for (const double size : sizes) {
    const double m = std::ceil(FLAGS_fields / size);
    products += m * size * FLAGS_dim * w;
    products += layers * (m * w * (2 * a + w + 2 * mgdin.ffn_factor() * w) + m * m * (a + w));
  }
  double in = static_cast<double>(sizes.size()) * w;
  for (const double out : {256.0, 128.0, 1.0}) products += in * out, in = out;
  return products;
}

// A product takes part three times: forward, and in the gradients of both its factors. Of options
// that change the work, only those that the functions above read are counted.
double FlopsPerRow() {
  const proto::ModelConfig config = Config();
  if (config.has_dlf()) return 6 * Products(config.dlf());
  return config.has_mgdin() ? 6 * Products(config.mgdin()) : 0;
}

void Main() {
  ThreadPool pool(FLAGS_threads);
  ClickShape shape;
  shape.fields = FLAGS_fields;
  shape.rows = FLAGS_rows;
  const ClickData data = MakeClicks(shape, 1);
  if (!FLAGS_data.empty()) {
    const Status written = WriteClicks(data, FLAGS_data);
    CHECK(written.ok()) << written;
  }
  Training training(data, pool);
  double loss = 0;
  std::uint32_t batch = 0;
  for (int i = 0; i < 2; ++i) training.Step(batch++ % shape.batches, &loss);  // warm
  std::vector<double> steps, graph_steps, cpu_steps;
  const auto start = Clock::now();
  while (steps.size() < 3 || Since(start) < FLAGS_seconds) {
    const auto step_start = Clock::now();
    const double cpu_start = CpuSeconds();
    graph_steps.push_back(training.Step(batch++ % shape.batches, &loss));
    steps.push_back(Since(step_start));
    cpu_steps.push_back(CpuSeconds() - cpu_start);
    std::printf("STEP %.6f cpu %.6f loss %.6f\n", steps.back(), cpu_steps.back(), loss);
    std::fflush(stdout);
  }
  const Peak peak = MeasurePeak(pool);
  const double step = Median(steps), cpu_step = Median(cpu_steps);
  std::printf(
      "threads %d, %zu parameters, %.2f GB held, graph %.1f %% of a step, "
      "peak %.1f GFLOP/s, of one core %.1f\n",
      FLAGS_threads, training.parameters(), 1e-9 * static_cast<double>(training.memory_bytes()),
      100 * Median(graph_steps) / step, 1e-9 * peak.per_second, 1e-9 * peak.per_cpu_second);
  const char* name = FLAGS_model.c_str();
  const double flops = FlopsPerRow() * shape.rows;
  std::printf("RESULT %s_fp32_rows_per_s=%.1f rows/s\n", name, shape.rows / step);
  std::printf("RESULT %s_fp32_rows_per_cpu_s=%.1f rows/s\n", name, shape.rows / cpu_step);
  if (flops == 0) return;
  std::printf("RESULT %s_fp32_vs_peak=%.3f ratio\n", name, flops / step / peak.per_second);
  std::printf("RESULT %s_fp32_cpu_vs_peak=%.3f ratio\n", name,
              flops / cpu_step / peak.per_cpu_second);
}

}  // namespace
}  // namespace cairn::bench

int main(int argc, char** argv) {
  gflags::ParseCommandLineFlags(&argc, &argv, true);
  google::InitGoogleLogging(argv[0]);
  cairn::bench::Main();
  return 0;
}
