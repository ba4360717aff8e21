"""The worker entries: one for each queue, so that each can be switched off alone, and some that serve several.

What the Procfile runs: `template_sync`, `onboarding`, `migrations`, `profile_photo`, `templates`, `others`.
"""
