// From the job as written to the effective one. Internal to common/config.
#pragma once

#include "common/config/problems.h"

namespace cairn::proto {
class JobConfig;
}  // namespace cairn::proto

namespace cairn {

// Completes `job` in place, as config.h describes, and checks what no single field can tell:
// names, references, one model, what fits together. `origins` belongs to the job as written.
void MakeEffective(const OriginTree& origins, proto::JobConfig* job, ProblemList* problems);

}  // namespace cairn
