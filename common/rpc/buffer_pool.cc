#include "common/rpc/buffer_pool.h"

#include <algorithm>
#include <bit>
#include <new>
#include <utility>

namespace cairn::rpc {
namespace {

constexpr std::align_val_t kAlignment{64};
constexpr std::size_t kSmallest = 4096;
constexpr std::size_t kLargest = std::size_t{1} << 48;

}  // namespace

BufferPool::Buffer::~Buffer() { pool_->GiveBack(data_, size_, size_class_); }

BufferPool::~BufferPool() {
  for (auto& list : idle_) {
    for (std::byte* data : list) ::operator delete(data, kAlignment);
  }
}

std::shared_ptr<BufferPool::Buffer> BufferPool::Take(std::size_t size) {
  if (size > kLargest) return nullptr;
  const int size_class = std::bit_width(std::max(size, kSmallest) - 1);
  const std::size_t capacity = std::size_t{1} << size_class;
  std::byte* data = nullptr;
  {
    MutexLock lock(mu_);
    if (size > max_used_bytes_ - used_bytes_) return nullptr;
    used_bytes_ += size;
    if (!idle_[size_class].empty()) {
      data = idle_[size_class].back();
      idle_[size_class].pop_back();
      idle_bytes_ -= capacity;
    }
  }
  // Pages are only touched where bytes arrive: the unused tail costs address space, no memory.
  if (data == nullptr) data = static_cast<std::byte*>(::operator new(capacity, kAlignment));
  return std::shared_ptr<Buffer>(new Buffer(shared_from_this(), data, size, size_class));
}

void BufferPool::GiveBack(std::byte* data, std::size_t size, int size_class) {
  const std::size_t capacity = std::size_t{1} << size_class;
  {
    MutexLock lock(mu_);
    used_bytes_ -= size;
    if (capacity <= max_idle_bytes_ - idle_bytes_) {
      idle_bytes_ += capacity;
      idle_[size_class].push_back(data);
      data = nullptr;
    }
  }
  if (data != nullptr) ::operator delete(data, kAlignment);
}

std::size_t BufferPool::used_bytes() {
  MutexLock lock(mu_);
  return used_bytes_;
}

}  // namespace cairn::rpc
