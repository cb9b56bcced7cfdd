#include "ps/table/pages.h"

#include <sys/mman.h>

#include <cstdint>
#include <cstdlib>
#include <cstring>

#include <glog/logging.h>

namespace cairn::ps {
namespace {

constexpr std::size_t kHugePage = 2u << 20;
constexpr std::size_t kSmallestMapping = 64u << 10;  // below, the allocator serves

std::byte* MapAligned(std::size_t bytes, std::size_t alignment) {
  const std::size_t wanted = bytes + alignment;
  void* const raw =
      mmap(nullptr, wanted, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  PCHECK(raw != MAP_FAILED) << "no memory for " << wanted << " bytes of rows";
  auto* const begin = static_cast<std::byte*>(raw);
  const std::size_t head =
      (alignment - reinterpret_cast<std::uintptr_t>(begin) % alignment) % alignment;
  if (head > 0) munmap(begin, head);
  if (const std::size_t tail = wanted - head - bytes; tail > 0) {
    munmap(begin + head + bytes, tail);
  }
  return begin + head;
}

}  // namespace

Pages::Pages(std::size_t bytes, Huge huge) {
  if (bytes < kSmallestMapping) {
    bytes_ = (bytes + 63) / 64 * 64;
    data_ = static_cast<std::byte*>(std::aligned_alloc(64, bytes_));
    CHECK(data_ != nullptr) << "no memory for " << bytes_ << " bytes of rows";
    std::memset(data_, 0, bytes_);
    return;
  }
  const bool advise = huge == Huge::kAdvise && bytes >= kHugePage;
  bytes_ = (bytes + 4095) / 4096 * 4096;
  data_ = MapAligned(bytes_, advise ? kHugePage : 4096);
  if (!advise) return;
  grain_ = kHugePage;
  madvise(data_, bytes_, MADV_HUGEPAGE);  // refused: ordinary pages serve as well
}

// A part of a huge page would stay in memory as a whole until the kernel splits it.
void Pages::Release(std::size_t begin, std::size_t end) {
  if (bytes_ < kSmallestMapping) {
    if (begin < end) std::memset(data_ + begin, 0, end - begin);
    return;
  }
  begin = (begin + grain_ - 1) / grain_ * grain_;
  end = end == bytes_ ? end : end / grain_ * grain_;
  if (begin < end) PCHECK(madvise(data_ + begin, end - begin, MADV_DONTNEED) == 0);
}

Pages::~Pages() {
  if (data_ == nullptr) return;
  if (bytes_ < kSmallestMapping) {
    std::free(data_);
  } else {
    munmap(data_, bytes_);
  }
}

}  // namespace cairn::ps
