//! Kafka's range assignor: each topic's partitions in order, in as equal runs as can be, to its members in order of name.

use std::collections::BTreeMap;

use crate::kafka::partition::Partition;

/// Assigns `partitions` to members, each subscribed to the topics beside its name.
///
/// Of n partitions and m members, the first n mod m members get one more than the others.
pub(super) fn range(
    subscriptions: &BTreeMap<String, Vec<String>>,
    partitions: &[Partition],
) -> BTreeMap<String, Vec<Partition>> {
    let mut assigned: BTreeMap<String, Vec<Partition>> =
        subscriptions.keys().map(|member| (member.clone(), Vec::new())).collect();
    let mut topics: BTreeMap<&str, Vec<&Partition>> = BTreeMap::new();
    for partition in partitions {
        topics.entry(&partition.topic).or_default().push(partition);
    }
    for (topic, mut of_topic) in topics {
        of_topic.sort();
        let members: Vec<&String> = subscriptions
            .iter()
            .filter(|(_, topics)| topics.iter().any(|subscribed| subscribed == topic))
            .map(|(member, _)| member)
            .collect();
        let mut of_topic = of_topic.into_iter();
        for (place, member) in members.iter().enumerate() {
            let left = of_topic.len();
            let run = left.div_ceil(members.len() - place);
            assigned.entry((*member).clone()).or_default().extend(of_topic.by_ref().take(run).cloned());
        }
    }
    assigned
}

#[cfg(test)]
mod tests {
    use super::*;

    fn partitions(topic: &str, count: i32) -> Vec<Partition> {
        (0..count).map(|index| Partition { topic: topic.into(), index }).collect()
    }

    fn shares(members: &[(&str, &[&str])], partitions: &[Partition]) -> Vec<String> {
        let subscriptions = members
            .iter()
            .map(|(member, topics)| ((*member).to_owned(), topics.iter().map(|t| (*t).to_owned()).collect()))
            .collect();
        range(&subscriptions, partitions)
            .into_iter()
            .map(|(member, assigned)| {
                let assigned: Vec<String> = assigned.iter().map(ToString::to_string).collect();
                format!("{member}: {}", assigned.join(" "))
            })
            .collect()
    }

    #[test]
    fn the_first_members_get_the_odd_ones() {
        assert_eq!(
            shares(&[("a", &["t"]), ("b", &["t"]), ("c", &["t"])], &partitions("t", 7)),
            ["a: t-0 t-1 t-2", "b: t-3 t-4", "c: t-5 t-6"]
        );
        assert_eq!(shares(&[("a", &["t"]), ("b", &["t"])], &partitions("t", 1)), ["a: t-0", "b: "]);
    }

    #[test]
    fn a_topic_goes_to_its_subscribers_only() {
        let mut all = partitions("t", 2);
        all.extend(partitions("u", 2));
        assert_eq!(
            shares(&[("a", &["t", "u"]), ("b", &["u"]), ("c", &["v"])], &all),
            ["a: t-0 t-1 u-0", "b: u-1", "c: "]
        );
    }
}
