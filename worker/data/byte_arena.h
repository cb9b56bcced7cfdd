// Copies of byte strings in large chunks that are reused after Clear(): one window's raw rows.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstring>
#include <memory>
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
  static constexpr std::size_t kChunkBytes = 1 << 20;
  struct Chunk {
    std::unique_ptr<char[]> bytes;
    std::size_t size;
  };
  void AddChunk(std::size_t at_least) {
    const std::size_t size = std::max(kChunkBytes, at_least);
    chunks_.push_back({std::unique_ptr<char[]>(new char[size]), size});
  }

  std::vector<Chunk> chunks_;
  std::size_t current_ = 0;  // chunk that is being filled
  std::size_t used_ = 0;     // bytes of it
};

}  // namespace cairn::worker
