//! The web page at `/ui/`: its files, its live numbers, and its views in a browser.

mod browser;
mod files;
mod live;
