// The part of EmbeddingTable that asks which keys may have a row.
#include <algorithm>

#include "ps/table/admission.h"
#include "ps/table/embedding_table.h"
#include "ps/table/embedding_table_impl.h"

namespace cairn::ps {

std::size_t EmbeddingTable::FindRefused(const KeyGroups& keys, std::uint64_t push,
                                        Admission* admission, std::vector<bool>* refused) {
  std::size_t count = 0;
  std::vector<IndexedKey> misses;
  std::vector<std::uint64_t> asked;
  for (std::uint32_t s = 0; s < kStripes; ++s) {
    const auto group = keys.Group(s);
    if (group.empty()) continue;
    misses.assign(group.begin(), group.end());
    {
      ReadLock lock(stripes_[s]->lock);
      KeepAbsent(*stripes_[s], &misses);
    }
    if (misses.empty()) continue;
    WriteLock lock(stripes_[s]->lock);
    KeepAbsent(*stripes_[s], &misses);  // another push may have made rows
    asked.clear();
    for (const IndexedKey& key : misses) asked.push_back(key.key);
    const auto admitted = std::make_unique<bool[]>(asked.size());
    admission->Admit(s, asked, push, admitted.get());
    for (std::size_t i = 0; i < asked.size(); ++i) {
      if (admitted[i]) continue;
      if (refused->empty()) refused->resize(keys.size());
      (*refused)[misses[i].position] = true;
      ++count;
    }
  }
  return count;
}

void EmbeddingTable::KeepAbsent(const Stripe& stripe,
                                std::vector<IndexedKey>* keys) const NO_THREAD_SAFETY_ANALYSIS {
  std::uint32_t rows[kBatch];
  std::size_t kept = 0;
  for (std::size_t begin = 0; begin < keys->size(); begin += kBatch) {
    const std::size_t n = std::min(kBatch, keys->size() - begin);
    stripe.index.Find({keys->data() + begin, n}, rows);
    for (std::size_t i = 0; i < n; ++i) {
      if (rows[i] == KeyIndex::kNoRow) (*keys)[kept++] = (*keys)[begin + i];
    }
  }
  keys->resize(kept);
}

void EmbeddingTable::SaveAdmission(std::uint32_t stripe, const Admission& admission,
                                   std::uint64_t push, std::string* out) const {
  ReadLock lock(stripes_[stripe]->lock);
  admission.SaveStripe(stripe, push, out);
}

}  // namespace cairn::ps
