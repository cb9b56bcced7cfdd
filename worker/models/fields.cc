#include "worker/models/fields.h"

#include <optional>

#include "worker/nn/ops/embedding.h"
#include "worker/nn/ops/shape.h"

namespace cairn::worker {
namespace {

Status Missing(const FieldNeeds& needs, std::string_view what) {
  return absl::InvalidArgumentError(StrCat("model ", needs.model, " needs ", what));
}

}  // namespace

Status RefuseHistories(std::string_view model, std::span<const FieldSpec> fields) {
  for (const FieldSpec& field : fields)
    if (field.IsHistory())
      return absl::InvalidArgumentError(StrCat("feature.", field.name,
                                               ".sequence.pooling: HISTORY, but model ", model,
                                               " does not read histories; use MEAN or SUM"));
  return OkStatus();
}

Result<ModelFields> SortFields(const FieldNeeds& needs, std::span<const FieldSpec> fields) {
  if (!needs.histories) RETURN_IF_ERROR(RefuseHistories(needs.model, fields));
  ModelFields sorted;
  for (const FieldSpec& field : fields) {
    if (field.linear && !needs.linear)
      return absl::InvalidArgumentError(StrCat("feature.", field.name, ".role: LINEAR, but model ",
                                               needs.model, " has no first-order weights"));
    if (field.linear && field.dim != 1)
      return absl::InvalidArgumentError(
          StrCat("feature.", field.name, ".role: LINEAR needs dim 1, not ", field.dim));
    (field.linear        ? sorted.linear
     : field.IsHistory() ? sorted.histories
                         : sorted.inputs)
        .push_back(field);
  }
  if (needs.histories && sorted.histories.empty())
    return Missing(needs, "a SEQUENCE feature with sequence.pooling: HISTORY");
  if (needs.linear && sorted.linear.empty())
    return Missing(needs, "first-order weights: features with role: LINEAR");
  if (sorted.inputs.empty()) return Missing(needs, "at least one feature that is not a history");
  return sorted;
}

Result<nn::Tensor> FirstOrder(nn::GraphBuilder& graph, std::span<const FieldSpec> linear,
                              bool with_bias) {
  ASSIGN_OR_RETURN(const nn::Tensor weights, nn::FieldEmbeddings(graph, linear), "linear");
  std::optional<nn::Parameter> bias;
  if (with_bias) {
    ASSIGN_OR_RETURN(bias, graph.AddParameter({.name = "bias", .dims = {1}}, nn::Init::Constant(0)),
                     "linear");
  }
  return nn::SumTokens(graph, "linear", weights, bias);
}

}  // namespace cairn::worker
