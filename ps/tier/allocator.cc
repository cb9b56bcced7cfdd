#include "ps/tier/allocator.h"

#if __has_include(<mimalloc.h>)
#include <mimalloc.h>

// Only programs that link mimalloc have it.
extern "C" [[gnu::weak]] void mi_option_set(mi_option_t option, long value);
#endif

namespace cairn::ps {

void ReturnFreedMemoryAtOnce() {
#if __has_include(<mimalloc.h>)
  if (mi_option_set == nullptr) return;
  mi_option_set(mi_option_decommit_delay, 0);
  mi_option_set(mi_option_segment_decommit_delay, 0);
  mi_option_set(mi_option_abandoned_page_decommit, 1);
#endif
}

}  // namespace cairn::ps
