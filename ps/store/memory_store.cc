#include "ps/store/memory_store.h"

#include <array>
#include <map>
#include <mutex>
#include <shared_mutex>

namespace cairn::ps {
namespace {

Status NotAscending() { return absl::InvalidArgumentError("keys are not in ascending order"); }

class MemoryStore : public RowStore {
 public:
  Status PutSorted(Family family, std::size_t count, std::uint64_t,
                   const std::function<StoreRecord(std::size_t)>& at) override {
    const std::unique_lock lock(mu_);
    std::string last;
    for (std::size_t i = 0; i < count; ++i) {
      const StoreRecord record = at(i);
      if (i > 0 && record.key <= last) return NotAscending();
      last = record.key;
      Of(family).insert_or_assign(last, std::string(record.value));
    }
    return OkStatus();
  }

  Status DeleteSorted(Family family, std::size_t count,
                      const std::function<std::string_view(std::size_t)>& at) override {
    const std::unique_lock lock(mu_);
    std::string last;
    for (std::size_t i = 0; i < count; ++i) {
      const std::string_view key = at(i);
      if (i > 0 && key <= last) return NotAscending();
      last = key;
      Of(family).erase(last);
    }
    return OkStatus();
  }

  Status Flush() override { return OkStatus(); }

  Status Get(Family family, std::string_view key, std::string* value) const override {
    const std::shared_lock lock(mu_);
    const auto it = Of(family).find(key);
    if (it == Of(family).end()) return absl::NotFoundError("no such record");
    *value = it->second;
    return OkStatus();
  }

  Status GetMany(Family family, std::span<const std::string_view> keys,
                 const std::function<void(std::size_t, std::string_view)>& found) const override {
    const std::shared_lock lock(mu_);
    for (std::size_t i = 0; i < keys.size(); ++i) {
      if (i > 0 && keys[i] <= keys[i - 1]) return NotAscending();
      const auto it = Of(family).find(keys[i]);
      if (it != Of(family).end()) found(i, it->second);
    }
    return OkStatus();
  }

  Status Scan(Family family, std::string_view begin, std::string_view end,
              const std::function<bool(const StoreRecord&)>& visit) const override {
    const std::shared_lock lock(mu_);
    for (auto it = Of(family).lower_bound(begin);
         it != Of(family).end() && (end.empty() || it->first < end); ++it) {
      if (!visit({it->first, it->second})) break;
    }
    return OkStatus();
  }

  Status Snapshot(const std::string&) override {
    return absl::UnimplementedError("a store in memory has no snapshots");
  }
  Status VerifyBlocks() const override { return OkStatus(); }

  std::uint64_t MemoryBytes() const override {
    constexpr std::uint64_t kNodeBytes = 96;  // of a map: two strings and three pointers
    const std::shared_lock lock(mu_);
    std::uint64_t bytes = 0;
    for (const Records& records : families_) {
      for (const auto& [key, value] : records) bytes += kNodeBytes + key.size() + value.size();
    }
    return bytes;
  }

 private:
  using Records = std::map<std::string, std::string, std::less<>>;
  Records& Of(Family family) { return families_[static_cast<std::size_t>(family)]; }
  const Records& Of(Family family) const { return families_[static_cast<std::size_t>(family)]; }

  mutable std::shared_mutex mu_;
  std::array<Records, 3> families_;
};

}  // namespace

std::unique_ptr<RowStore> MakeMemoryStore() { return std::make_unique<MemoryStore>(); }

}  // namespace cairn::ps
