// Memory for large arrays, in huge pages where the kernel grants them.
#pragma once

#include <sys/mman.h>

#include <cstddef>
#include <cstdint>
#include <utility>

#include <glog/logging.h>

namespace cairn::worker::nn {

// Zeros at first. Aligned to 2 MiB if it is that large, else to a page. Not thread-safe.
template <typename T>
class HugeBuffer {
 public:
  HugeBuffer() = default;
  explicit HugeBuffer(std::size_t count) { Grow(count); }
  ~HugeBuffer() { Free(); }
  HugeBuffer(HugeBuffer&& other) noexcept { *this = std::move(other); }
  HugeBuffer& operator=(HugeBuffer&& other) noexcept {
    std::swap(map_, other.map_);
    std::swap(map_bytes_, other.map_bytes_);
    std::swap(data_, other.data_);
    std::swap(count_, other.count_);
    return *this;
  }

  // Makes room for `count` elements; contents are lost and zero if it has to grow.
  void Grow(std::size_t count) {
    if (count <= count_) return;
    Free();
    constexpr std::size_t kHuge = std::size_t{2} << 20;
    const std::size_t bytes = (count * sizeof(T) + 4095) / 4096 * 4096;
    const std::size_t slack = bytes >= kHuge ? kHuge : 0;
    void* map =
        mmap(nullptr, bytes + slack, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    PCHECK(map != MAP_FAILED) << "no memory for " << bytes << " bytes";
    map_ = map;
    map_bytes_ = bytes + slack;
    char* first = static_cast<char*>(map);
    if (slack > 0) {
      first += (kHuge - reinterpret_cast<std::uintptr_t>(first) % kHuge) % kHuge;
      madvise(first, bytes, MADV_HUGEPAGE);  // advice: failing it costs speed only
    }
    data_ = reinterpret_cast<T*>(first);
    count_ = count;
  }

  T* data() { return data_; }
  const T* data() const { return data_; }
  std::size_t size() const { return count_; }
  std::size_t bytes() const { return map_bytes_; }

 private:
  void Free() {
    if (map_ != nullptr) munmap(map_, map_bytes_);
    map_ = nullptr;
    data_ = nullptr;
    map_bytes_ = count_ = 0;
  }

  void* map_ = nullptr;
  std::size_t map_bytes_ = 0;
  T* data_ = nullptr;
  std::size_t count_ = 0;
};

}  // namespace cairn::worker::nn
