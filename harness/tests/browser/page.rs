//! A page in the browser: opened, asked, pressed and clicked.

use std::path::Path;
use std::time::Duration;

use serde_json::{Value, json};

use crate::devtools::{Browser, PATIENCE, pictures, wait, write};

/// Light or dark.
#[derive(Clone, Copy, Debug)]
pub enum Scheme {
    Light,
    Dark,
}

/// A page.
pub struct Page {
    pub browser: Browser,
}

impl Page {
    /// Opens the file at `path`, `width` pixels wide, and waits until it is ready.
    #[track_caller]
    pub fn open(path: &Path, width: u32, scheme: Scheme) -> Self {
        let mut page = Self { browser: Browser::start() };
        page.resize(width, scheme);
        let path = path.canonicalize().unwrap();
        page.browser.call("Page.navigate", json!({"url": format!("file://{}", path.display())}));
        page.await_ready();
        page
    }

    /// Makes it `width` pixels wide.
    pub fn resize(&mut self, width: u32, scheme: Scheme) {
        let mobile = width < 500;
        let height = if mobile { 844 } else { 900 };
        self.browser.call(
            "Emulation.setDeviceMetricsOverride",
            json!({"width": width, "height": height, "deviceScaleFactor": 1, "mobile": mobile}),
        );
        let value = match scheme {
            Scheme::Light => "light",
            Scheme::Dark => "dark",
        };
        self.browser.call(
            "Emulation.setEmulatedMedia",
            // Without motion: a page that still scrolls moves away from where a click goes.
            json!({"media": "", "features": [
                {"name": "prefers-color-scheme", "value": value},
                {"name": "prefers-reduced-motion", "value": "reduce"},
            ]}),
        );
    }

    #[track_caller]
    fn await_ready(&mut self) {
        let state = wait(PATIENCE, "the page is ready", || {
            self.ask("document.documentElement?.dataset.ready").as_str().map(str::to_owned)
        });
        assert_eq!(state, "yes", "{:?}", self.browser.events("Runtime.exceptionThrown"));
    }

    /// Returns the value of a JavaScript expression, promises awaited.
    #[track_caller]
    pub fn ask(&mut self, expression: &str) -> Value {
        let params = json!({"expression": expression, "awaitPromise": true, "returnByValue": true});
        let answer = self.browser.call("Runtime.evaluate", params);
        assert!(answer["exceptionDetails"].is_null(), "{expression}: {}", answer["exceptionDetails"]);
        answer["result"]["value"].clone()
    }

    /// Returns its value as a string.
    #[track_caller]
    pub fn text(&mut self, expression: &str) -> String {
        let value = self.ask(expression);
        value.as_str().unwrap_or_else(|| panic!("{expression} is not a string: {value}")).to_owned()
    }

    /// Returns its value as a number.
    #[track_caller]
    pub fn number(&mut self, expression: &str) -> f64 {
        let value = self.ask(expression);
        value.as_f64().unwrap_or_else(|| panic!("{expression} is not a number: {value}"))
    }

    /// Waits until `expression` is true.
    #[track_caller]
    pub fn until(&mut self, expression: &str) {
        wait(Duration::from_secs(20), expression, || (self.ask(expression) == true).then_some(()));
    }

    /// Scrolls `selector` into view, and answers the middle of it.
    #[track_caller]
    pub fn middle(&mut self, selector: &str) -> (f64, f64) {
        let place = self.ask(&format!(
            "(() => {{ const e = document.querySelector({selector:?}); e.scrollIntoView({{block: 'center', behavior: 'instant'}});
             const r = e.getBoundingClientRect(); return [r.left + r.width / 2, r.top + r.height / 2]; }})()"
        ));
        (place[0].as_f64().unwrap(), place[1].as_f64().unwrap())
    }

    /// Does something with the mouse.
    pub fn mouse(&mut self, kind: &str, (x, y): (f64, f64), pressed: bool) {
        let buttons = u8::from(pressed);
        let button = if kind == "mouseMoved" && !pressed { "none" } else { "left" };
        let params =
            json!({"type": kind, "x": x, "y": y, "button": button, "buttons": buttons, "clickCount": 1});
        self.browser.call("Input.dispatchMouseEvent", params);
    }

    /// Clicks on `selector`.
    #[track_caller]
    pub fn click(&mut self, selector: &str) {
        let at = self.middle(selector);
        self.click_at(at);
    }

    /// Clicks there.
    pub fn click_at(&mut self, at: (f64, f64)) {
        self.mouse("mouseMoved", at, false);
        self.mouse("mousePressed", at, true);
        self.mouse("mouseReleased", at, false);
    }

    /// Presses a key; one with a `text` of one character types it.
    pub fn press(&mut self, key: &str) {
        let mut params = json!({"type": "keyDown", "key": key});
        if key.chars().count() == 1 {
            params["text"] = json!(key);
        }
        self.browser.call("Input.dispatchKeyEvent", params);
        self.browser.call("Input.dispatchKeyEvent", json!({"type": "keyUp", "key": key}));
    }

    /// Types `text` into the focused element.
    pub fn type_text(&mut self, text: &str) {
        self.browser.call("Input.insertText", json!({"text": text}));
    }

    /// Leaves a picture of the whole page, if pictures are wanted.
    pub fn picture(&mut self, name: &str) {
        let Some(folder) = pictures() else { return };
        let width = self.number("document.documentElement.clientWidth");
        let height = self.number("document.documentElement.scrollHeight");
        let mut top = 0.0;
        let mut part = 0;
        // A picture of several thousand pixels is unreadable where it is shown whole.
        while top < height {
            let tall = (height - top).min(1600.0);
            let clip = json!({"x": 0, "y": top, "width": width, "height": tall, "scale": 1});
            let params = json!({"captureBeyondViewport": true, "clip": clip});
            let picture = self.browser.call("Page.captureScreenshot", params);
            write(&folder.join(format!("{name}-{part}.png")), picture["data"].as_str().unwrap());
            top += tall;
            part += 1;
        }
    }

    /// Fails the test when the page's scripts failed, or it asked the network for anything.
    #[track_caller]
    pub fn assert_quiet(&mut self) {
        // So that what happened until now has arrived.
        self.ask("1");
        let exceptions = self.browser.events("Runtime.exceptionThrown");
        assert!(exceptions.is_empty(), "{exceptions:?}");
        let refused = self.browser.events("Log.entryAdded");
        assert!(refused.is_empty(), "{refused:?}");
        for sent in self.browser.events("Network.requestWillBeSent") {
            let url = sent["request"]["url"].as_str().unwrap_or_default();
            assert!(
                url.starts_with("file://") || url.starts_with("data:") || url.starts_with("blob:"),
                "{url}"
            );
        }
    }
}
