#include "worker/models/mgdin_groups.h"

#include <algorithm>
#include <numeric>

#include "common/math/hash.h"
#include "common/math/rng.h"
#include "proto/config.pb.h"

namespace cairn::worker::mgdin {
namespace {

using proto::MgdinConfig;

// 0 .. n-1 in an order drawn from (seed, stream): Fisher, Yates.
std::vector<std::uint32_t> RandomOrder(std::uint32_t n, std::uint64_t seed, std::uint64_t stream) {
  std::vector<std::uint32_t> order(n);
  std::iota(order.begin(), order.end(), 0u);
  Rng rng(seed, stream);
  for (std::uint32_t i = n; i > 1; --i) std::swap(order[i - 1], order[rng.NextBelow(i)]);
  return order;
}

Status HaveDensities(const MgdinConfig& config, std::span<const FieldSpec> fields) {
  for (const FieldSpec& field : fields)
    if (!field.density.has_value())
      return absl::FailedPreconditionError(
          StrCat("model.mgdin.order: ", MgdinConfig::Order_Name(config.order()), " needs feature.",
                 field.name, ".density, which is neither given nor counted"));
  return OkStatus();
}

// Mean over the window's fields, dummies left out.
double MeanDensity(std::span<const FieldSpec> window) {
  double sum = 0;
  for (const FieldSpec& field : window) sum += *field.density;
  return sum / static_cast<double>(window.size());
}

// The window's fields, dummies left out.
std::span<const FieldSpec> FieldsOf(const Windows& windows, std::span<const FieldSpec> ordered,
                                    std::uint32_t window) {
  const std::int64_t shift = windows.dummies_first ? windows.dummies : 0;
  const std::int64_t begin = std::int64_t{window} * windows.size - shift;
  const auto fields = static_cast<std::int64_t>(ordered.size());
  const std::int64_t first = std::max<std::int64_t>(begin, 0);
  const std::int64_t end = std::min(begin + windows.size, fields);
  return ordered.subspan(static_cast<std::size_t>(first), static_cast<std::size_t>(end - first));
}

}  // namespace

Result<std::vector<FieldSpec>> OrderFields(const MgdinConfig& config,
                                           std::span<const FieldSpec> fields, std::uint64_t seed) {
  std::vector<FieldSpec> ordered(fields.begin(), fields.end());
  switch (config.order()) {
    case MgdinConfig::DENSITY:
      RETURN_IF_ERROR(HaveDensities(config, fields));
      std::stable_sort(ordered.begin(), ordered.end(), [](const FieldSpec& a, const FieldSpec& b) {
        return *a.density > *b.density;
      });
      break;
    case MgdinConfig::DENSITY_REVERSED:
      RETURN_IF_ERROR(HaveDensities(config, fields));
      std::stable_sort(ordered.begin(), ordered.end(), [](const FieldSpec& a, const FieldSpec& b) {
        return *a.density < *b.density;
      });
      break;
    case MgdinConfig::FILE:
      break;
    case MgdinConfig::RANDOM: {
      const auto order =
          RandomOrder(static_cast<std::uint32_t>(fields.size()), seed, HashBytes("mgdin.order", 0));
      for (std::size_t i = 0; i < order.size(); ++i) ordered[i] = fields[order[i]];
      break;
    }
  }
  return ordered;
}

Windows CutWindows(const MgdinConfig& config, std::span<const FieldSpec> ordered,
                   std::uint32_t size) {
  const auto fields = static_cast<std::uint32_t>(ordered.size());
  Windows windows{.size = size, .count = (fields + size - 1) / size};
  windows.dummies = windows.count * size - fields;
  windows.dummies_first = config.order() == MgdinConfig::DENSITY_REVERSED;

  std::vector<std::uint32_t> by_density(windows.count);
  std::iota(by_density.begin(), by_density.end(), 0u);
  const bool counted = std::all_of(ordered.begin(), ordered.end(), [](const FieldSpec& field) {
    return field.density.has_value();
  });
  if (counted) {
    std::vector<double> density;
    for (std::uint32_t w = 0; w < windows.count; ++w)
      density.push_back(MeanDensity(FieldsOf(windows, ordered, w)));
    std::stable_sort(by_density.begin(), by_density.end(),
                     [&](std::uint32_t a, std::uint32_t b) { return density[a] > density[b]; });
  }
  windows.rank.resize(windows.count);
  for (std::uint32_t place = 0; place < windows.count; ++place)
    windows.rank[by_density[place]] = place;
  return windows;
}

std::uint32_t ActivePairs(std::uint32_t layer, std::uint32_t layers, std::uint32_t tokens) {
  const std::uint64_t pairs = std::uint64_t{tokens} * tokens;
  return static_cast<std::uint32_t>(std::max<std::uint64_t>(layer * pairs / layers, 1));
}

std::vector<std::uint8_t> GroupMask(const Windows& windows, std::uint32_t layer,
                                    std::uint32_t layers) {
  const std::uint32_t m = windows.count;
  const std::uint32_t visible = (layer * m + layers - 1) / layers;
  std::vector<std::uint8_t> mask(std::size_t{m} * m, 0);
  for (std::uint32_t i = 0; i < m; ++i)
    for (std::uint32_t j = 0; j < m; ++j)
      mask[std::size_t{i} * m + j] =
          i == j || (windows.rank[i] < visible && windows.rank[j] < visible);
  return mask;
}

std::vector<std::uint8_t> RandomMask(const Windows& windows, std::uint32_t active,
                                     std::uint64_t seed) {
  const std::uint32_t pairs = windows.count * windows.count;
  const auto order = RandomOrder(pairs, seed, HashBytes("mgdin.pairs", windows.size));
  std::vector<std::uint8_t> mask(pairs, 0);
  for (std::uint32_t i = 0; i < active; ++i) mask[order[i]] = 1;
  return mask;
}

}  // namespace cairn::worker::mgdin
