//! A request checked against an offer, with every default filled in.

use std::collections::BTreeMap;

use crate::error::{Setting, SettingsError};
use crate::nearest::nearest;
use crate::offer::{BugSpec, Mode, Offer, OptionSpec};
use crate::request::Request;
use crate::settings::Settings;

/// The mode and options that take the place of the defaults, such as those of the run that finds a bug.
#[derive(Clone, Copy, Debug)]
pub struct Preset<'a> {
    /// The mode of a request that names none.
    pub mode: &'a str,
    /// Values of options that the request does not give, where the mode is the preset's.
    pub options: &'a BTreeMap<String, String>,
}

impl Offer {
    /// Checks `request` against the offer of `owner`, and fills in every default.
    ///
    /// Without `--mode`, the mode is the preset's, or the first. An option that is not given has the preset's value
    /// where the mode is the preset's, else one with which the bug can show, else its default.
    ///
    /// # Errors
    /// An unknown mode, option, value or bug, with the accepted ones; an option or bug of another mode; options or
    /// a number of nodes with which the bug cannot show; no nodes.
    pub fn resolve(
        &self,
        owner: &str,
        request: &Request,
        preset: Option<Preset<'_>>,
    ) -> Result<Settings, SettingsError> {
        if request.nodes == 0 {
            return Err(SettingsError::NoNodes { owner: owner.to_owned() });
        }
        let asking = Asking { owner, offer: self };
        let bug = request.bug.as_deref().map(|name| asking.bug(name)).transpose()?;
        let mode = match (&request.mode, preset) {
            (Some(name), _) => asking.mode(name)?,
            (None, Some(preset)) => asking.mode(preset.mode)?,
            (None, None) => self.modes.first().map_or_else(|| asking.mode(""), Ok)?,
        };
        if let Some(bug) = bug {
            asking.applies(Setting::Bug, &bug.name, &bug.modes, mode)?;
        }
        let mut options: BTreeMap<String, String> =
            self.options_of(&mode.name).map(|option| (option.name.clone(), option.default.clone())).collect();
        for (name, values) in bug.into_iter().flat_map(|bug| &bug.options) {
            options.extend(values.first().map(|value| (name.clone(), value.clone())));
        }
        let preset = preset.filter(|preset| preset.mode == mode.name);
        for (name, value) in preset.into_iter().flat_map(|preset| preset.options).chain(&request.options) {
            let option = asking.option(name, mode)?;
            asking.value(option, value)?;
            options.insert(name.clone(), value.clone());
        }
        if let Some(bug) = bug {
            asking.can_show(bug, &options, request.nodes)?;
        }
        let named_like_it = [owner.to_owned()];
        let programs = if self.programs.is_empty() { &named_like_it[..] } else { &self.programs };
        let mut named = request.programs.keys().chain(request.upgrades.keys());
        if let Some(name) = named.find(|name| !programs.contains(name)) {
            return Err(asking.unknown(Setting::Program, name, programs.iter()));
        }
        let Request { bug, programs, upgrades, .. } = request.clone();
        Ok(Settings { mode: mode.name.clone(), options, bug, programs, upgrades })
    }
}

/// The look-ups of one request, each with its error.
struct Asking<'a> {
    owner: &'a str,
    offer: &'a Offer,
}

impl<'a> Asking<'a> {
    fn mode(&self, name: &str) -> Result<&'a Mode, SettingsError> {
        let modes = &self.offer.modes;
        let found = modes.iter().find(|mode| mode.name == name);
        found.ok_or_else(|| self.unknown(Setting::Mode, name, modes.iter().map(|mode| &mode.name)))
    }

    fn bug(&self, name: &str) -> Result<&'a BugSpec, SettingsError> {
        let bugs = &self.offer.bugs;
        let found = bugs.iter().find(|bug| bug.name == name);
        found.ok_or_else(|| self.unknown(Setting::Bug, name, bugs.iter().map(|bug| &bug.name)))
    }

    fn option(&self, name: &str, mode: &Mode) -> Result<&'a OptionSpec, SettingsError> {
        let found = self.offer.options.iter().find(|option| option.name == name);
        let option = found.ok_or_else(|| {
            self.unknown(Setting::Option, name, self.offer.options_of(&mode.name).map(|option| &option.name))
        })?;
        self.applies(Setting::Option, name, &option.modes, mode)?;
        Ok(option)
    }

    fn value(&self, option: &OptionSpec, value: &str) -> Result<(), SettingsError> {
        if option.values.accept(value) {
            return Ok(());
        }
        Err(SettingsError::Value {
            owner: self.owner.to_owned(),
            option: option.name.clone(),
            given: value.to_owned(),
            nearest: nearest(value, option.values.known_words()).map(str::to_owned),
            accepted: Box::new(option.values.clone()),
        })
    }

    fn applies(&self, what: Setting, name: &str, modes: &[String], mode: &Mode) -> Result<(), SettingsError> {
        if modes.contains(&mode.name) {
            return Ok(());
        }
        Err(SettingsError::OtherMode {
            owner: self.owner.to_owned(),
            what,
            name: name.to_owned(),
            mode: mode.name.clone(),
            modes: modes.to_vec(),
        })
    }

    fn can_show(
        &self,
        bug: &BugSpec,
        options: &BTreeMap<String, String>,
        nodes: usize,
    ) -> Result<(), SettingsError> {
        let (owner, name) = (self.owner.to_owned(), bug.name.clone());
        let unfit = |(option, needed): &(&String, &Vec<String>)| {
            options.get(*option).is_none_or(|value| !needed.contains(value))
        };
        if let Some((option, needed)) = bug.options.iter().find(unfit) {
            let given = options.get(option).cloned().unwrap_or_default();
            let (option, needed) = (option.clone(), needed.clone());
            return Err(SettingsError::BugOption { owner, bug: name, option, given, needed });
        }
        if nodes < bug.nodes_min {
            return Err(SettingsError::BugNodes { owner, bug: name, given: nodes, needed: bug.nodes_min });
        }
        Ok(())
    }

    fn unknown<'n>(
        &self,
        what: Setting,
        given: &str,
        accepted: impl Iterator<Item = &'n String>,
    ) -> SettingsError {
        let accepted: Vec<String> = accepted.cloned().collect();
        SettingsError::Unknown {
            owner: self.owner.to_owned(),
            what,
            given: given.to_owned(),
            nearest: nearest(given, &accepted).map(str::to_owned),
            accepted,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::values::Values;

    fn offer() -> Offer {
        let mode = |name: &str| Mode { name: name.into(), summary: "…".into(), promises: "…".into() };
        let option = |name: &str, values: Values, default: &str, modes: &[&str]| OptionSpec {
            name: name.into(),
            values,
            default: default.into(),
            summary: "…".into(),
            modes: modes.iter().map(|mode| (*mode).to_owned()).collect(),
            drawn: Vec::new(),
        };
        Offer {
            modes: vec![mode("raft"), mode("primary")],
            options: vec![
                option("read", Values::words(["primary", "any"]), "primary", &["primary"]),
                option("keep", Values::Whole { min: 1, max: 9 }, "5", &["raft", "primary"]),
            ],
            bugs: vec![BugSpec {
                name: "stale".into(),
                defect: "…".into(),
                resembles: None,
                anomaly: "…".into(),
                modes: vec!["primary".into()],
                options: [("read".to_owned(), vec!["any".to_owned()])].into(),
                nodes_min: 2,
            }],
            programs: Vec::new(),
        }
    }

    fn request(mode: Option<&str>, options: &[(&str, &str)], bug: Option<&str>) -> Request {
        let request = Request {
            mode: mode.map(str::to_owned),
            bug: bug.map(str::to_owned),
            nodes: 3,
            ..Request::default()
        };
        options.iter().fold(request, |request, (name, value)| request.with_option(name, value))
    }

    #[test]
    fn defaults_are_those_of_the_first_mode() {
        let settings = offer().resolve("store", &request(None, &[], None), None).unwrap();
        assert_eq!((settings.mode.as_str(), settings.option("keep")), ("raft", Some("5")));
        assert_eq!(settings.option("read"), None, "an option of another mode");
    }

    #[test]
    fn a_preset_comes_between_the_request_and_the_defaults() {
        let options = BTreeMap::from([("keep".to_owned(), "7".to_owned())]);
        let preset = Some(Preset { mode: "primary", options: &options });
        let resolve = |request| offer().resolve("store", &request, preset);

        let settings = resolve(request(None, &[("read", "any")], Some("stale"))).unwrap();
        assert_eq!(settings.mode, "primary");
        assert_eq!((settings.option("keep"), settings.option("read")), (Some("7"), Some("any")));
        let given = resolve(request(None, &[("keep", "8")], None)).unwrap();
        assert_eq!(given.option("keep"), Some("8"));
        let elsewhere = resolve(request(Some("raft"), &[], None)).unwrap();
        assert_eq!(elsewhere.option("keep"), Some("5"));

        let options = BTreeMap::from([("keep".to_owned(), "70".to_owned())]);
        let preset = Some(Preset { mode: "raft", options: &options });
        assert!(
            offer().resolve("store", &request(None, &[], None), preset).is_err(),
            "a preset is checked too"
        );
    }

    #[test]
    fn errors_list_what_is_accepted() {
        for (request, says) in [
            (
                request(Some("rafft"), &[], None),
                "store has no mode \"rafft\" (did you mean \"raft\"?); accepted: raft, primary",
            ),
            (
                request(Some("primary"), &[("raed", "any")], None),
                "store has no option \"raed\" (did you mean \"read\"?); accepted: read, keep",
            ),
            (
                request(Some("primary"), &[("read", "an")], None),
                "option read of store cannot be \"an\" (did you mean \"any\"?); accepted: primary, any",
            ),
            (
                request(None, &[("keep", "0")], None),
                "option keep of store cannot be \"0\"; accepted: a whole number from 1 to 9",
            ),
            (
                request(None, &[("read", "any")], None),
                "option \"read\" of store does not apply to mode raft, only to primary",
            ),
            (
                request(None, &[], Some("stale")),
                "bug \"stale\" of store does not apply to mode raft, only to primary",
            ),
            (
                request(Some("primary"), &[("read", "primary")], Some("stale")),
                "bug stale of store cannot show with read=primary, only with read=any",
            ),
            (
                Request { nodes: 1, ..request(Some("primary"), &[], Some("stale")) },
                "bug stale of store needs at least 2 nodes, not 1",
            ),
            (request(None, &[], Some("lost")), "store has no bug \"lost\"; accepted: stale"),
            (Request::default(), "store needs at least one node"),
        ] {
            assert_eq!(offer().resolve("store", &request, None).unwrap_err().to_string(), says);
        }
        let nothing = Offer::default().resolve("etcd", &request(None, &[], None), None).unwrap_err();
        assert_eq!(nothing.to_string(), "etcd has no mode \"\"; it has none");
    }
}
