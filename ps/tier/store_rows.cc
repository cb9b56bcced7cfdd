#include "ps/tier/store_rows.h"

#include <algorithm>
#include <vector>

#include "ps/table/row_layout.h"

namespace cairn::ps {
namespace {

struct Place {
  RowKey key;
  std::uint32_t index;  // in the caller's keys
};

}  // namespace

Status StoreRows::Fetch(std::span<const std::uint64_t> keys,
                        const std::function<void(std::size_t, std::string_view)>& visit) const {
  std::vector<Place> places;
  places.reserve(keys.size());
  for (std::uint32_t i = 0; i < keys.size(); ++i) {
    const auto slot = static_cast<std::uint16_t>(slots_.SlotOfMixed(MixedKey(keys[i])));
    places.push_back({{slot, table_, keys[i]}, i});
  }
  std::ranges::sort(places, {}, &Place::key);
  // The store wants each key once.
  std::vector<std::size_t> first;  // place of each different key, and the end
  std::vector<EncodedRowKey> encoded;
  encoded.reserve(places.size());
  std::vector<std::string_view> wanted;
  wanted.reserve(places.size());
  for (std::size_t p = 0; p < places.size(); ++p) {
    if (p > 0 && places[p].key == places[p - 1].key) continue;
    first.push_back(p);
    const EncodedRowKey& key = encoded.emplace_back(EncodeRowKey(places[p].key));
    wanted.emplace_back(key.data(), key.size());
  }
  first.push_back(places.size());
  return store_->GetMany(Family::kRows, wanted, [&](std::size_t i, std::string_view record) {
    for (std::size_t p = first[i]; p < first[i + 1]; ++p) visit(places[p].index, record);
  });
}

}  // namespace cairn::ps
