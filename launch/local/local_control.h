// The coordinator's and the worker's view of each other, and of the servers, inside one process.
#pragma once

#include <memory>

#include "launch/coordinator/ps_admin.h"
#include "worker/client/job_control.h"

namespace cairn::ps {
class PsCore;
}  // namespace cairn::ps

namespace cairn::launch {

class CoordinatorCore;

// Control calls to a server in this process; `core` is borrowed. Its address is "local". The job
// epoch has no meaning here: nobody is left over from an earlier run.
std::unique_ptr<PsAdmin> MakeLocalPsAdmin(ps::PsCore* core);

// A worker's way to the coordinator in this process, which is borrowed.
std::unique_ptr<worker::JobControl> MakeLocalJobControl(CoordinatorCore* coordinator);

}  // namespace cairn::launch
