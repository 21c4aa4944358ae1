"""The page a run leaves behind: tables, plots and the protocol, in one HTML file that needs no network."""

from rnas.pages.page import write_attack_page, write_report

__all__ = ["write_attack_page", "write_report"]
