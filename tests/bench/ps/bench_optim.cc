// Steps of rows that lie in the first-level cache, by every optimizer of the catalogue with every
// instruction set of the machine, through RowOptimizer::Apply as tables call it.
//
//   bench_optim [--dim=N]
//
// RESULT optim_<name>_rows_per_s is what a server reaches (the best instruction set),
// optim_<name>_<set>_rows_per_s all of them; optim_<name>_vs_sgd is the ratio to sgd. Figures are
// rows for each second of CPU time: medians of passes, those of all optimizers interleaved.
#include <time.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include <glog/logging.h>

#include "common/math/rng.h"
#include "google/protobuf/text_format.h"
#include "proto/config.pb.h"
#include "ps/optim/optimizers.h"

namespace cairn::ps {
namespace {

constexpr int kPasses = 9;
constexpr std::uint32_t kStepsPerPass = 10000;  // of every row
constexpr std::size_t kValueFloats = 1024;      // with states and gradients 16 KiB

double CpuSeconds() {
  timespec t;
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
  return static_cast<double>(t.tv_sec) + 1e-9 * static_cast<double>(t.tv_nsec);
}

const char* NameOf(Isa isa) {
  switch (isa) {
    case Isa::kAvx512:
      return "avx512";
    case Isa::kAvx2:
      return "avx2";
    case Isa::kBaseline:
      break;
  }
  return "baseline";
}

std::vector<Isa> IsasHere() {
  std::vector<Isa> isas = {Isa::kBaseline};
  if (BestIsa() != Isa::kBaseline) isas.push_back(Isa::kAvx2);
  if (BestIsa() == Isa::kAvx512) isas.push_back(Isa::kAvx512);
  return isas;
}

// Rows [value | state] one after the other, and a gradient for each.
class Candidate {
 public:
  Candidate(std::string name, Isa isa, std::size_t dim) : name_(std::move(name)), isa_(isa) {
    proto::OptimizerConfig config;
    CHECK(google::protobuf::TextFormat::ParseFromString(name_ + " {}", &config));
    auto made = MakeOptimizer(config, isa);
    CHECK(made.ok()) << made.status();
    optimizer_ = std::move(*made);
    dim_ = dim;
    rows_ = std::max<std::size_t>(1, kValueFloats / dim);
    stride_ = dim + optimizer_->StateSize(dim);
    memory_.resize(rows_ * stride_);
    gradients_.resize(rows_ * dim);
    FillUniform(1, 1, -0.1f, 0.1f, gradients_);
    for (std::size_t r = 0; r < rows_; ++r) optimizer_->InitState(Row(r).state);
  }

  void Pass() {
    const double start = CpuSeconds();
    for (std::uint32_t step = 0; step < kStepsPerPass; ++step) {
      const StepInfo info{1, 0, ++steps_};
      for (std::size_t r = 0; r < rows_; ++r) {
        optimizer_->Apply(Row(r), {gradients_.data() + r * dim_, dim_}, info);
      }
    }
    rates_.push_back(static_cast<double>(rows_) * kStepsPerPass / (CpuSeconds() - start));
  }

  const std::string& name() const { return name_; }
  Isa isa() const { return isa_; }
  double Rate() const {
    std::vector<double> sorted = rates_;
    std::ranges::sort(sorted);
    return sorted[sorted.size() / 2];
  }

 private:
  RowRef Row(std::size_t r) {
    const std::span<float> row(memory_.data() + r * stride_, stride_);
    return {row.first(dim_), row.subspan(dim_)};
  }

  std::string name_;
  Isa isa_;
  std::unique_ptr<RowOptimizer> optimizer_;
  std::size_t dim_ = 0, rows_ = 0, stride_ = 0;
  std::vector<float> memory_, gradients_;
  std::uint32_t steps_ = 0;
  std::vector<double> rates_;
};

int Main(int argc, char** argv) {
  std::size_t dim = 16;
  for (int i = 1; i < argc; ++i) {
    const std::string flag = argv[i];
    if (flag.starts_with("--dim=")) dim = std::strtoull(flag.c_str() + 6, nullptr, 10);
    if (!flag.starts_with("--dim=") || dim < 1 || dim > 16384) {
      std::fprintf(stderr, "usage: bench_optim [--dim=N]\n");
      return 2;
    }
  }
  std::vector<Candidate> candidates;
  for (const OptimizerEntry& entry : Optimizers()) {
    for (const Isa isa : IsasHere()) candidates.emplace_back(std::string(entry.name), isa, dim);
  }
  for (int pass = 0; pass < kPasses; ++pass) {
    for (Candidate& candidate : candidates) candidate.Pass();
  }
  double sgd = 0;
  for (const Candidate& candidate : candidates) {
    if (candidate.name() == "sgd") sgd = candidate.Rate();  // the last one is the best set's
  }
  for (const Candidate& candidate : candidates) {
    const char* const name = candidate.name().c_str();
    std::printf("RESULT optim_%s_%s_rows_per_s=%.1f M rows/s\n", name, NameOf(candidate.isa()),
                candidate.Rate() / 1e6);
    if (candidate.isa() != BestIsa()) continue;
    std::printf("RESULT optim_%s_rows_per_s=%.1f M rows/s\n", name, candidate.Rate() / 1e6);
    std::printf("RESULT optim_%s_vs_sgd=%.3f\n", name, candidate.Rate() / sgd);
  }
  return 0;
}

}  // namespace
}  // namespace cairn::ps

int main(int argc, char** argv) {
  google::InitGoogleLogging(argv[0]);
  return cairn::ps::Main(argc, argv);
}
