// What the cores can do at best.
#pragma once

#include "common/base/thread_pool.h"

namespace cairn::bench {

// Float multiply-adds in registers, in operations (a multiply-add is two); the best of a few tries.
struct Peak {
  double per_second = 0;      // all threads of the pool at once, wall time
  double per_cpu_second = 0;  // one thread, its processor time
};
Peak MeasurePeak(ThreadPool& pool);

}  // namespace cairn::bench
