// A row store over another one, whose reads and writes fail when a test says so.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <span>
#include <string>
#include <string_view>

#include "common/base/status.h"
#include "ps/store/row_store.h"

namespace cairn::ps {

// Thread-safety: as RowStore; the settings may be changed at any time. Borrows the store.
class FailingStore : public RowStore {
 public:
  explicit FailingStore(RowStore* store) : store_(store) {}

  // Of 1024 calls so many fail. A write that fails has been done for the first half of its records,
  // a read has visited the first half of its keys.
  void FailWrites(std::uint32_t of_1024) { failing_writes_ = of_1024; }
  void FailReads(std::uint32_t of_1024) { failing_reads_ = of_1024; }
  std::uint64_t failures() const { return failures_; }
  std::uint64_t reads() const { return reads_; }

  Status PutSorted(Family family, std::size_t count, std::uint64_t bytes,
                   const std::function<StoreRecord(std::size_t)>& at) override {
    if (!Fails(failing_writes_)) return store_->PutSorted(family, count, bytes, at);
    RETURN_IF_ERROR(store_->PutSorted(family, count / 2, bytes / 2, at));
    return absl::ResourceExhaustedError("no room, says the test");
  }
  Status DeleteSorted(Family family, std::size_t count,
                      const std::function<std::string_view(std::size_t)>& at) override {
    return store_->DeleteSorted(family, count, at);
  }
  Status Flush() override { return store_->Flush(); }
  Status Get(Family family, std::string_view key, std::string* value) const override {
    return store_->Get(family, key, value);
  }
  Status GetMany(
      Family family, std::span<const std::string_view> keys,
      const std::function<void(std::size_t index, std::string_view value)>& found) const override {
    ++reads_;
    if (!Fails(failing_reads_)) return store_->GetMany(family, keys, found);
    RETURN_IF_ERROR(store_->GetMany(family, keys.first(keys.size() / 2), found));
    return absl::UnavailableError("unreadable, says the test");
  }
  Status Scan(Family family, std::string_view begin, std::string_view end,
              const std::function<bool(const StoreRecord&)>& visit) const override {
    return store_->Scan(family, begin, end, visit);
  }
  Status Snapshot(const std::string& folder) override { return store_->Snapshot(folder); }
  Status VerifyBlocks() const override { return store_->VerifyBlocks(); }
  std::uint64_t MemoryBytes() const override { return store_->MemoryBytes(); }

 private:
  bool Fails(std::uint32_t of_1024) const {
    // A fixed sequence without a pattern: the golden ratio's multiples.
    const std::uint64_t call = calls_.fetch_add(1) * 0x9e3779b97f4a7c15ull >> 54;
    if (call >= of_1024) return false;
    ++failures_;
    return true;
  }

  RowStore* const store_;
  std::atomic<std::uint32_t> failing_writes_{0}, failing_reads_{0};
  mutable std::atomic<std::uint64_t> calls_{0}, failures_{0}, reads_{0};
};

}  // namespace cairn::ps
