#include "ps/optim/optimizers.h"

#include <string>

#include "proto/config.pb.h"
#include "ps/optim/adagrad.h"
#include "ps/optim/adam.h"
#include "ps/optim/adamw.h"
#include "ps/optim/ftrl.h"
#include "ps/optim/momentum.h"
#include "ps/optim/rowwise_adagrad.h"
#include "ps/optim/sgd.h"

namespace cairn::ps {
namespace {

// Keep sorted.
constexpr OptimizerEntry kOptimizers[] = {
    {"adagrad", &MakeAdagrad},   {"adam", &MakeAdam},
    {"adamw", &MakeAdamw},       {"ftrl", &MakeFtrl},
    {"momentum", &MakeMomentum}, {"rowwise_adagrad", &MakeRowwiseAdagrad},
    {"sgd", &MakeSgd},
};

// Name of the field that is set in the oneof "kind".
std::string_view KindOf(const proto::OptimizerConfig& config) {
  const auto* kind = proto::OptimizerConfig::descriptor()->FindOneofByName("kind");
  const auto* field = config.GetReflection()->GetOneofFieldDescriptor(config, kind);
  return field == nullptr ? std::string_view("adam") : std::string_view(field->name());
}

}  // namespace

std::span<const OptimizerEntry> Optimizers() { return kOptimizers; }

Result<std::unique_ptr<RowOptimizer>> MakeOptimizer(const proto::OptimizerConfig& config, Isa isa) {
  const std::string_view kind = KindOf(config);
  std::string known;
  for (const OptimizerEntry& entry : kOptimizers) {
    if (entry.name == kind) return entry.make(config, isa);
    StrAppend(known, known.empty() ? "" : ", ", entry.name);
  }
  return absl::InvalidArgumentError(StrCat("unknown optimizer \"", kind, "\"; known: ", known));
}

}  // namespace cairn::ps
