#include "worker/features/key_dedup.h"

#include <algorithm>

namespace cairn::worker {

constexpr std::size_t kPrefetchDistance = 12;

void KeyDedup::Begin(std::vector<std::uint64_t>* unique) {
  unique_ = unique;
  unique_->clear();
  if (++stamp_ == 0) {  // wrapped round: old stamps could look like new ones
    std::ranges::fill(entries_, Entry{});
    stamp_ = 1;
  }
}

KeyDedup::Entry* KeyDedup::FindEntry(std::uint64_t key) {
  const std::size_t mask = entries_.size() - 1;
  for (std::size_t at = key & mask;; at = (at + 1) & mask) {
    Entry* entry = &entries_[at];
    if (entry->stamp != stamp_ || entry->key == key) return entry;
  }
}

void KeyDedup::Grow() {
  std::vector<Entry>(2 * entries_.size()).swap(entries_);
  for (std::size_t i = 0; i < unique_->size(); ++i)
    *FindEntry((*unique_)[i]) = {(*unique_)[i], stamp_, static_cast<std::uint32_t>(i)};
}

void KeyDedup::Map(std::span<const std::uint64_t> keys, std::uint32_t* index) {
  for (std::size_t i = 0; i < keys.size(); ++i) {
    if (i + kPrefetchDistance < keys.size())
      __builtin_prefetch(&entries_[keys[i + kPrefetchDistance] & (entries_.size() - 1)]);
    Entry* entry = FindEntry(keys[i]);
    if (entry->stamp != stamp_) {
      *entry = {keys[i], stamp_, static_cast<std::uint32_t>(unique_->size())};
      unique_->push_back(keys[i]);
      index[i] = entry->position;
      if (2 * unique_->size() > entries_.size()) Grow();
      continue;
    }
    index[i] = entry->position;
  }
}

}  // namespace cairn::worker
