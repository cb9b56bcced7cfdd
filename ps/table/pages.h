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
      : data_(std::exchange(other.data_, nullptr)), bytes_(std::exchange(other.bytes_, 0)) {}
  Pages& operator=(Pages&& other) noexcept {
    std::swap(data_, other.data_);
    std::swap(bytes_, other.bytes_);
    return *this;
  }

  std::byte* data() const { return data_; }
  std::size_t bytes() const { return bytes_; }

 private:
  std::byte* data_ = nullptr;
  std::size_t bytes_ = 0;
};

}  // namespace cairn::ps
