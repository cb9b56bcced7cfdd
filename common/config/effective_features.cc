#include <map>
#include <set>
#include <utility>

#include "common/config/effective_parts.h"
#include "common/config/text_expansion.h"
#include "proto/config.pb.h"

namespace cairn {
namespace {

using proto::FeatureConfig;

class Features {
 public:
  Features(const OriginTree& origins, proto::JobConfig* job, ProblemList* problems)
      : origins_(origins), job_(job), problems_(problems) {}

  FeatureNodes Complete() {
    google::protobuf::RepeatedPtrField<FeatureConfig> written;
    written.Swap(job_->mutable_feature());
    for (int i = 0; i < written.size(); ++i) {
      const OriginTree& node = origins_.At(proto::JobConfig::kFeatureFieldNumber, i);
      const bool is_type_known = !node.Has(FeatureConfig::kTypeFieldNumber) ||
                                 !node.At(FeatureConfig::kTypeFieldNumber).damaged;
      if (is_type_known) CheckFeatureRules(written[i], node, problems_);
      Expand(written[i], node);
    }
    CheckNames();
    CheckColumns();
    for (FeatureConfig& feature : *job_->mutable_feature()) FillIn(&feature);
    if (job_->feature_size() == 0 && !origins_.damaged) {
      problems_->Add(origins_.origin, "a job needs at least one feature");
    }
    return std::move(nodes_);
  }

 private:
  void Problem(const OriginTree& node, int field, std::string message) {
    problems_->Add(node.At(field).origin, std::move(message));
  }

  // Texts of `field` for each of `count` features, or nothing after a problem.
  std::vector<std::string> ExpandField(const OriginTree& node, int field, const std::string& text,
                                       std::size_t count, bool may_share) {
    if (count == 1) return {text};
    Result<std::vector<std::string>> texts = ExpandRange(text);
    if (!texts.ok()) {
      Problem(node, field, std::string(texts.status().message()));
      return {};
    }
    if (texts->size() == 1 && may_share) texts->resize(count, text);
    if (texts->size() != count) {
      Problem(node, field,
              StrCat("\"", text, "\" stands for ", texts->size(), ", but the name for ", count,
                     " features"));
      return {};
    }
    return *std::move(texts);
  }

  void Expand(const FeatureConfig& feature, const OriginTree& node) {
    const Result<std::vector<std::string>> names = ExpandRange(feature.name());
    if (!names.ok()) {
      Problem(node, FeatureConfig::kNameFieldNumber, std::string(names.status().message()));
      return;
    }
    const std::size_t count = names->size();
    std::vector<std::string> columns, tables;
    if (feature.has_column()) {
      columns = ExpandField(node, FeatureConfig::kColumnFieldNumber, feature.column(), count,
                            /*may_share=*/false);
    }
    if (feature.has_table()) {
      tables = ExpandField(node, FeatureConfig::kTableFieldNumber, feature.table(), count,
                           /*may_share=*/true);
    }
    for (std::size_t i = 0; i < count; ++i) {
      FeatureConfig* expanded = job_->add_feature();
      *expanded = feature;
      expanded->set_name((*names)[i]);
      if (!columns.empty()) expanded->set_column(columns[i]);
      if (!tables.empty()) expanded->set_table(tables[i]);
      nodes_.push_back(&node);
    }
  }

  void CheckNames() {
    std::map<std::string, const OriginTree*> first;
    std::set<const OriginTree*> accused;  // once for each feature as written
    for (int i = 0; i < job_->feature_size(); ++i) {
      const std::string& name = job_->feature(i).name();
      const OriginTree& node = *nodes_[static_cast<std::size_t>(i)];
      if (name.empty()) continue;  // a missing name is told elsewhere
      const auto [found, is_new] = first.try_emplace(name, &node);
      if (is_new || !accused.insert(&node).second) continue;
      const Origin& other = found->second->At(FeatureConfig::kNameFieldNumber).origin;
      Problem(node, FeatureConfig::kNameFieldNumber,
              StrCat("there is another feature \"", name, "\", named ", DescribeOrigin(other)));
    }
  }

  // Columns must exist, where the job itself lists them all, and must not give the label away.
  void CheckColumns() {
    const proto::DataConfig& data = job_->data();
    std::set<const OriginTree*> accused;
    for (int i = 0; i < job_->feature_size(); ++i) {
      const FeatureConfig& feature = job_->feature(i);
      const OriginTree& node = *nodes_[static_cast<std::size_t>(i)];
      const auto check = [&](const OriginTree& place, const std::string& column) {
        const std::string problem = ProblemOfColumn(data, column);
        if (!problem.empty() && accused.insert(&node).second) problems_->Add(place.origin, problem);
      };
      check(node.At(feature.has_column() ? FeatureConfig::kColumnFieldNumber
                                         : FeatureConfig::kNameFieldNumber),
            feature.type() == FeatureConfig::CROSS ? ""
            : feature.has_column()                 ? feature.column()
                                                   : feature.name());
      check(node.At(FeatureConfig::kNumericFieldNumber).At(proto::NumericConfig::kUntilFieldNumber),
            feature.numeric().until());
    }
  }

  void FillIn(FeatureConfig* feature) {
    if (!feature->has_column() && feature->type() != FeatureConfig::CROSS) {
      feature->set_column(feature->name());
    }
    if (!feature->has_table() && !IsPlainNumber(*feature)) feature->set_table(feature->name());
    if (feature->type() == FeatureConfig::NUMERIC) feature->mutable_numeric();
    if (feature->type() == FeatureConfig::SEQUENCE) feature->mutable_sequence();
  }

  const OriginTree& origins_;
  proto::JobConfig* const job_;
  ProblemList* const problems_;
  FeatureNodes nodes_;
};

}  // namespace

FeatureNodes CompleteFeatures(const OriginTree& origins, proto::JobConfig* job,
                              ProblemList* problems) {
  return Features(origins, job, problems).Complete();
}

}  // namespace cairn
