"""Pages: tables, figures and protocol of a run, an attack, a table or a study, in one HTML file without network."""

from rnas.pages.attack_page import write_attack_page
from rnas.pages.corruption_page import write_corruption_page
from rnas.pages.run_page import write_report
from rnas.pages.seeds_page import write_seeds_page
from rnas.pages.study_page import write_study_page

__all__ = ["write_attack_page", "write_corruption_page", "write_report", "write_seeds_page", "write_study_page"]
