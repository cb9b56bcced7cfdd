#include "proto/config.pb.h"
#include "worker/models/model_builders.h"

namespace cairn::worker {
namespace {

// One line each.
// clang-format off
constexpr ModelEntry kModels[] = {
    // keep sorted
    {"autoint", &BuildAutoint},
    {"dcnv2", &BuildDcnv2},
    {"deepfm", &BuildDeepfm},
    {"din", &BuildDin},
    {"dlf", &BuildDlf},
    {"finalmlp", &BuildFinalmlp},
    {"fm", &BuildFm},
    {"interformer", &BuildInterformer},
    {"lr", &BuildLr},
    {"mgdin", &BuildMgdin},
};
// clang-format on

}  // namespace

std::span<const ModelEntry> Models() { return kModels; }

Result<const ModelEntry*> FindModel(const proto::ModelConfig& config) {
  const auto* kinds = proto::ModelConfig::descriptor()->FindOneofByName("kind");
  const auto* kind = proto::ModelConfig::GetReflection()->GetOneofFieldDescriptor(config, kinds);
  std::string known;
  for (const ModelEntry& entry : kModels) {
    if (kind != nullptr && kind->name() == entry.name) return &entry;
    StrAppend(known, known.empty() ? "" : ", ", entry.name);
  }
  return absl::InvalidArgumentError(StrCat(kind == nullptr ? "no model is set" : "unknown model '",
                                           kind == nullptr ? "" : kind->name() + "'",
                                           "; the models are: ", known));
}

}  // namespace cairn::worker
