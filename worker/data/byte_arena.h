// Copies of byte strings in large chunks that are reused after Clear(): one window's raw rows.
// Chunks lie in huge pages where the kernel grants them: a shuffled visit touches a page per row.
#pragma once

#include <sys/mman.h>

#include <cstddef>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <new>
#include <string_view>
#include <vector>

namespace cairn::worker {

// Not thread-safe.
class ByteArena {
 public:
  // A copy of `bytes`, valid until Clear().
  std::string_view Copy(std::string_view bytes) {
    while (current_ == chunks_.size() || chunks_[current_].size - used_ < bytes.size()) {
      if (current_ < chunks_.size()) ++current_;
      if (current_ == chunks_.size()) AddChunk(bytes.size());
      used_ = 0;
    }
    char* copy = chunks_[current_].bytes.get() + used_;
    if (!bytes.empty()) std::memcpy(copy, bytes.data(), bytes.size());
    used_ += bytes.size();
    return {copy, bytes.size()};
  }
  void Clear() {
    current_ = 0;
    used_ = 0;
  }

 private:
  static constexpr std::size_t kChunkBytes = 2 << 20;  // a huge page of x86-64
  struct Free {
    void operator()(char* bytes) const { std::free(bytes); }
  };
  struct Chunk {
    std::unique_ptr<char[], Free> bytes;
    std::size_t size;
  };
  void AddChunk(std::size_t at_least) {
    const std::size_t chunks = at_least / kChunkBytes + 1;
    const std::size_t size = chunks * kChunkBytes;
    auto* bytes = static_cast<char*>(std::aligned_alloc(kChunkBytes, size));
    if (bytes == nullptr) throw std::bad_alloc();
    madvise(bytes, size, MADV_HUGEPAGE);  // a wish: refusal changes nothing
    chunks_.push_back({std::unique_ptr<char[], Free>(bytes), size});
  }

  std::vector<Chunk> chunks_;
  std::size_t current_ = 0;  // chunk that is being filled
  std::size_t used_ = 0;     // bytes of it
};

}  // namespace cairn::worker
