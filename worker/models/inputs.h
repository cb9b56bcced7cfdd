// What several models do to the job's fields before they embed them.
#pragma once

#include <span>
#include <string_view>
#include <vector>

#include "common/base/status.h"
#include "worker/data/batch.h"

namespace cairn::worker {

// The inputs of a model that takes one vector from each field: histories as the mean of their
// values, all else as it is. InvalidArgument, naming the field, if one is a first-order weight
// (role LINEAR): `model` has none.
Result<std::vector<FieldSpec>> OneVectorEach(std::string_view model,
                                             std::span<const FieldSpec> fields);

}  // namespace cairn::worker
