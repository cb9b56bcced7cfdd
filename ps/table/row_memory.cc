#include "ps/table/row_memory.h"

#include <algorithm>
#include <bit>

namespace cairn::ps {
namespace {

constexpr std::uint64_t kAllFree = ~std::uint64_t{0};

}  // namespace

void RowMemory::AddBlock() {
  values_.AddBlock();
  rests_.AddBlock();
  free_.push_back(kAllFree);
  free_count_ += RowArena::kBlockRows;
  end_.store(static_cast<std::uint32_t>(free_.size() * RowArena::kBlockRows),
             std::memory_order_relaxed);
  bytes_.store(values_.bytes() + rests_.bytes(), std::memory_order_relaxed);
}

std::uint32_t RowMemory::TakeLowest() {
  while (free_[first_free_] == 0) ++first_free_;
  std::uint64_t& free = free_[first_free_];
  const auto bit = static_cast<std::size_t>(std::countr_zero(free));
  free &= free - 1;
  --free_count_;
  used_.fetch_add(1, std::memory_order_relaxed);
  return static_cast<std::uint32_t>(first_free_ * RowArena::kBlockRows + bit);
}

void RowMemory::Take(std::size_t most, std::vector<std::uint32_t>* rows) {
  MutexLock lock(mu_);
  if (free_count_ == 0) AddBlock();
  for (std::size_t i = 0; i < most && free_count_ > 0; ++i) rows->push_back(TakeLowest());
}

std::optional<std::uint32_t> RowMemory::TakeBelow(std::uint32_t bound) {
  MutexLock lock(mu_);
  if (free_count_ == 0) return std::nullopt;
  const std::uint32_t row = TakeLowest();
  if (row < bound) return row;
  free_[row / RowArena::kBlockRows] |= std::uint64_t{1} << row % RowArena::kBlockRows;
  ++free_count_;
  used_.fetch_sub(1, std::memory_order_relaxed);
  return std::nullopt;
}

void RowMemory::Return(std::span<const std::uint32_t> rows) {
  MutexLock lock(mu_);
  for (const std::uint32_t row : rows) {
    const std::size_t block = row / RowArena::kBlockRows;
    free_[block] |= std::uint64_t{1} << row % RowArena::kBlockRows;
    first_free_ = std::min(first_free_, block);
  }
  free_count_ += rows.size();
  used_.fetch_sub(static_cast<std::uint32_t>(rows.size()), std::memory_order_relaxed);
}

void RowMemory::Trim() {
  MutexLock lock(mu_);
  std::size_t blocks = free_.size();
  while (blocks > 0 && free_[blocks - 1] == kAllFree) --blocks;
  if (blocks == free_.size()) return;
  free_count_ -= (free_.size() - blocks) * RowArena::kBlockRows;
  free_.resize(blocks);
  first_free_ = std::min(first_free_, blocks);
  const std::size_t rows = blocks * RowArena::kBlockRows;
  values_.Trim(rows);
  rests_.Trim(rows);
  end_.store(static_cast<std::uint32_t>(rows), std::memory_order_relaxed);
  bytes_.store(values_.bytes() + rests_.bytes(), std::memory_order_relaxed);
}

}  // namespace cairn::ps
