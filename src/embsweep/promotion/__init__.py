"""Promote a registered model's challenger to champion, and roll back to the previous champion."""
