#include "worker/models/inputs.h"

namespace cairn::worker {

Result<std::vector<FieldSpec>> OneVectorEach(std::string_view model,
                                             std::span<const FieldSpec> fields) {
  std::vector<FieldSpec> inputs(fields.begin(), fields.end());
  for (FieldSpec& field : inputs) {
    if (field.linear)
      return absl::InvalidArgumentError(StrCat("feature.", field.name, ".role: LINEAR, but model ",
                                               model, " has no first-order weights"));
    if (field.IsHistory()) field.pooling = FieldSpec::Pooling::kMean;
  }
  return inputs;
}

}  // namespace cairn::worker
