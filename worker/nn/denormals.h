// Denormal numbers cost a hundred cycles each and carry nothing that training needs.
#pragma once

#if defined(__x86_64__)
#include <xmmintrin.h>
#endif

namespace cairn::worker::nn {

// While one lives, denormal operands and results of this thread count as zero.
class FlushDenormals {
 public:
#if defined(__x86_64__)
  FlushDenormals() : saved_(_mm_getcsr()) { _mm_setcsr(saved_ | 0x8040); }  // FTZ | DAZ
  ~FlushDenormals() { _mm_setcsr(saved_); }
#else
  FlushDenormals() = default;
  ~FlushDenormals() {}
#endif
  FlushDenormals(const FlushDenormals&) = delete;
  FlushDenormals& operator=(const FlushDenormals&) = delete;

 private:
  unsigned saved_ = 0;
};

}  // namespace cairn::worker::nn
