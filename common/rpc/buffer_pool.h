// Large buffers for requests and replies, aligned to 64 bytes and kept for reuse: a fresh one of a
// megabyte costs a page fault for every 4 KiB.
// Thread-safety: every method may be called from any thread.
#pragma once

#include <cstddef>
#include <memory>
#include <span>
#include <vector>

#include "common/base/mutex.h"

namespace cairn::rpc {

class BufferPool : public std::enable_shared_from_this<BufferPool> {
  struct Private {};

 public:
  // A borrowed buffer; the destructor gives it back. May outlive every other handle to the pool.
  class Buffer {
   public:
    ~Buffer();
    Buffer(const Buffer&) = delete;
    Buffer& operator=(const Buffer&) = delete;
    std::byte* data() const { return data_; }
    std::size_t size() const { return size_; }
    std::span<std::byte> bytes() const { return {data_, size_}; }

   private:
    friend class BufferPool;
    Buffer(std::shared_ptr<BufferPool> pool, std::byte* data, std::size_t size, int size_class)
        : pool_(std::move(pool)), data_(data), size_(size), size_class_(size_class) {}
    // Shared: buffers still referred to by the transport return here after their server is gone.
    const std::shared_ptr<BufferPool> pool_;
    std::byte* const data_;
    const std::size_t size_;
    const int size_class_;
  };

  // At most `max_used_bytes` are lent at a time, and at most `max_idle_bytes` kept for reuse.
  static std::shared_ptr<BufferPool> Make(std::size_t max_used_bytes, std::size_t max_idle_bytes) {
    return std::make_shared<BufferPool>(Private{}, max_used_bytes, max_idle_bytes);
  }
  BufferPool(Private, std::size_t max_used_bytes, std::size_t max_idle_bytes)
      : max_used_bytes_(max_used_bytes), max_idle_bytes_(max_idle_bytes) {}
  ~BufferPool();

  // Content undefined. Null when the limit of lent bytes would be passed. Shared: several slices of
  // one reply keep it.
  std::shared_ptr<Buffer> Take(std::size_t size) EXCLUDES(mu_);

  std::size_t used_bytes() EXCLUDES(mu_);

 private:
  static constexpr int kClasses = 64;
  void GiveBack(std::byte* data, std::size_t size, int size_class) EXCLUDES(mu_);

  const std::size_t max_used_bytes_;
  const std::size_t max_idle_bytes_;
  Mutex mu_;
  std::size_t used_bytes_ GUARDED_BY(mu_) = 0;
  std::size_t idle_bytes_ GUARDED_BY(mu_) = 0;
  std::vector<std::byte*> idle_[kClasses] GUARDED_BY(mu_);  // of 2^i bytes
};

}  // namespace cairn::rpc
