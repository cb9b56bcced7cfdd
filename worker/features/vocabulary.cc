#include "worker/features/vocabulary.h"

#include <algorithm>
#include <bit>
#include <cstring>

#include "proto/config.pb.h"

namespace cairn::worker {
namespace {

static_assert(std::endian::native == std::endian::little, "numbers are stored as in memory");

constexpr std::string_view kMagic = "CAIRNVOC";
constexpr std::uint32_t kVersion = 1;

template <typename T>
void Append(T number, std::string* out) {
  out->append(reinterpret_cast<const char*>(&number), sizeof number);
}

// Reads from the front of `bytes`; false if they do not suffice.
template <typename T>
bool Take(std::string_view* bytes, T* number) {
  if (bytes->size() < sizeof *number) return false;
  std::memcpy(number, bytes->data(), sizeof *number);
  bytes->remove_prefix(sizeof *number);
  return true;
}

bool TakeSet(std::string_view* bytes, std::string* table, std::uint32_t* min_count,
             std::vector<std::uint64_t>* keys) {
  std::uint32_t name_bytes = 0;
  if (!Take(bytes, &name_bytes) || bytes->size() < name_bytes) return false;
  *table = bytes->substr(0, name_bytes);
  bytes->remove_prefix(name_bytes);
  std::uint64_t count = 0;
  if (!Take(bytes, min_count) || !Take(bytes, &count)) return false;
  if (bytes->size() / sizeof(std::uint64_t) < count) return false;
  keys->resize(count);
  if (count > 0) std::memcpy(keys->data(), bytes->data(), count * sizeof(std::uint64_t));
  bytes->remove_prefix(count * sizeof(std::uint64_t));
  return std::ranges::adjacent_find(*keys, std::ranges::greater_equal()) == keys->end();
}

}  // namespace

KeySet::KeySet(const std::vector<std::uint64_t>& keys)
    : slots_(std::bit_ceil(2 * keys.size() + 1), 0), mask_(slots_.size() - 1), size_(keys.size()) {
  for (const std::uint64_t key : keys) {
    if (key == 0) {
      has_zero_ = true;
      continue;
    }
    std::size_t at = key & mask_;
    while (slots_[at] != 0) at = (at + 1) & mask_;
    slots_[at] = key;
  }
}

std::vector<std::uint64_t> KeySet::Sorted() const {
  std::vector<std::uint64_t> keys;
  keys.reserve(size_);
  if (has_zero_) keys.push_back(0);
  for (const std::uint64_t key : slots_)
    if (key != 0) keys.push_back(key);
  std::ranges::sort(keys);
  return keys;
}

Result<Vocabulary> Vocabulary::Parse(std::string_view bytes) {
  const auto damaged = [] { return absl::DataLossError("is no vocabulary"); };
  std::uint32_t version = 0;
  std::uint32_t sets = 0;
  if (!bytes.starts_with(kMagic)) return damaged();
  bytes.remove_prefix(kMagic.size());
  if (!Take(&bytes, &version)) return damaged();
  if (version != kVersion)
    return absl::FailedPreconditionError(
        StrCat("is a vocabulary of version ", version, ", this program knows ", kVersion));
  if (!Take(&bytes, &sets)) return damaged();
  Vocabulary vocabulary;
  for (; sets > 0; --sets) {
    std::string table;
    std::uint32_t min_count = 0;
    std::vector<std::uint64_t> keys;
    if (!TakeSet(&bytes, &table, &min_count, &keys)) return damaged();
    vocabulary.Add(table, min_count, keys);
  }
  if (!bytes.empty()) return damaged();
  return vocabulary;
}

std::string Vocabulary::Serialize() const {
  std::string out(kMagic);
  Append(kVersion, &out);
  Append(static_cast<std::uint32_t>(sets_.size()), &out);
  for (const auto& [name, set] : sets_) {
    const auto& [table, min_count] = name;
    Append(static_cast<std::uint32_t>(table.size()), &out);
    out += table;
    Append(min_count, &out);
    const std::vector<std::uint64_t> keys = set.Sorted();
    Append(static_cast<std::uint64_t>(keys.size()), &out);
    out.append(reinterpret_cast<const char*>(keys.data()), keys.size() * sizeof keys[0]);
  }
  return out;
}

void Vocabulary::Add(const std::string& table, std::uint32_t min_count,
                     const std::vector<std::uint64_t>& keys) {
  sets_[{table, min_count}] = KeySet(keys);
}

const KeySet* Vocabulary::Find(const std::string& table, std::uint32_t min_count) const {
  const auto found = sets_.find({table, min_count});
  return found == sets_.end() ? nullptr : &found->second;
}

bool NeedsVocabulary(const proto::JobConfig& job) {
  return std::ranges::any_of(
      job.feature(), [](const proto::FeatureConfig& feature) { return feature.min_count() > 1; });
}

Status CheckVocabulary(const Vocabulary& vocabulary, const proto::JobConfig& job) {
  for (const proto::FeatureConfig& feature : job.feature())
    if (feature.min_count() > 1 && vocabulary.Find(feature.table(), feature.min_count()) == nullptr)
      return absl::DataLossError(StrCat("the vocabulary has no values of feature \"",
                                        feature.name(), "\" for min_count ", feature.min_count()));
  return OkStatus();
}

}  // namespace cairn::worker
