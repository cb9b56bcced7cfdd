// Zero-filled memory for rows and indexes, in huge pages where the kernel grants them.
#pragma once

#include <cstddef>
#include <utility>

namespace cairn::ps {

// Owns a mapping; movable. Ends the process, with the size wanted, when memory is exhausted: there
// is no state to go back to in the middle of a push.
class Pages {
 public:
  enum class Huge { kNo, kAdvise };

  Pages() = default;
  // At least `bytes`, aligned to 64 bytes; to 2 MiB if that much is asked for and huge is kAdvise.
  Pages(std::size_t bytes, Huge huge);
  ~Pages();
  Pages(Pages&& other) noexcept
      : data_(std::exchange(other.data_, nullptr)),
        bytes_(std::exchange(other.bytes_, 0)),
        grain_(other.grain_) {}
  Pages& operator=(Pages&& other) noexcept {
    std::swap(data_, other.data_);
    std::swap(bytes_, other.bytes_);
    std::swap(grain_, other.grain_);
    return *this;
  }

  std::byte* data() const { return data_; }
  std::size_t bytes() const { return bytes_; }
  // Bytes that the kernel gives and takes at once: 2 MiB where huge pages were asked for.
  std::size_t grain() const { return grain_; }

  // Gives whole grains inside [begin, end) back to the kernel; what was in them reads as 0 again.
  void Release(std::size_t begin, std::size_t end);

 private:
  std::byte* data_ = nullptr;
  std::size_t bytes_ = 0;
  std::size_t grain_ = 4096;
};

}  // namespace cairn::ps
