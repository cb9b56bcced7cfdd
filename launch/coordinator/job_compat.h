// Whether a checkpoint of one job can be continued by another.
#pragma once

#include "common/base/status.h"

namespace cairn::proto {
class JobConfig;
}  // namespace cairn::proto

namespace cairn::launch {

// OK if rows, dense parameters and positions mean the same in both effective jobs. May differ: the
// job's name, paths of the data (`train`, `valid`, `test`, the joined files), how bad rows are
// treated, `train` (epochs, batch size, ...) and `checkpoint`. Must be equal: the seed, the rest of
// `data`, tables with their optimizers, features, the model and `dense`. FailedPrecondition names
// the first field that differs, with its two values.
Status CheckCompatible(const proto::JobConfig& saved, const proto::JobConfig& job);

}  // namespace cairn::launch
